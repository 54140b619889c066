"""Genes by the gene sets they are in."""

from vc_featurize.geneset.svd import geneset_features, read_gmt

__all__ = ["geneset_features", "read_gmt"]
