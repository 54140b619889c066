"""Genes by name, and panels of them."""
