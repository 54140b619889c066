"""Encoders of compounds (extra `chem`), and the rules by which a structure is read."""

from vc_featurize.compound.morgan import compound_features, read_compound_table

__all__ = ["compound_features", "read_compound_table"]
