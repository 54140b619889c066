"""The command line of vc-interp."""
