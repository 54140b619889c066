"""Tiny valid and broken files of the contracts: one file here per contract; `make_corpus.py` writes them."""
