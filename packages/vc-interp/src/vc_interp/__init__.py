"""vc-interp."""
