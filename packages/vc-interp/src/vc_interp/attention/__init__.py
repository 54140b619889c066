"""Attention beside intervention: exact implicit weights of linear attention, and edges only where perturbing says so."""
