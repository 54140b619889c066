"""The command line of vc-eval."""
