"""The table of measured effects that every model learns from."""
