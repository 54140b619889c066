"""Files that vc-interp reads without holding them: activations by blocks, effects, networks, lists of genes."""
