"""vc-featurize."""
