"""The command line of vc-model."""
