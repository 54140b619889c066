"""Cells against cells, under a named rule."""
