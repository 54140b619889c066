"""Predictions as files, and as cells."""
