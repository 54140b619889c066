"""From what a screen calls a perturbation to what an encoder reads: protein, protospacer, structure."""
