"""vc-data."""
