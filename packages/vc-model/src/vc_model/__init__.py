"""vc-model."""
