"""Genes by their neighbours in a network: spectral embedding, node2vec, regulons."""
