"""The contract screen-v1: written, read, merged."""
