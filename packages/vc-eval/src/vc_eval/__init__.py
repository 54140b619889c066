"""vc-eval."""
