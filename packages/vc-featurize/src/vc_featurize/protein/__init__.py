"""Encoders of proteins, and the rules by which a protein sequence is read."""
