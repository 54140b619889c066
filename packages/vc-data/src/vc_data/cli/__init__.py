"""The command line of vc-data."""
