"""Tables of effects (bulk, z-scores, fold changes, ranks) into the effects-v1 contract."""
