"""Rank tests and differential expression."""
