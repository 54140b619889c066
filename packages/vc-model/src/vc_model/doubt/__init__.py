"""Variance, intervals and support of predictions."""
