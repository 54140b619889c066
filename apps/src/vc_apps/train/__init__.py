"""`vc train`: from a screen and its split to a checkpoint, for both models.

`settings` is what can be asked for, `recipes` how BioJEPA is trained at each scale, `feed` where its batches come from,
`biojepa` and `anchored` the two runs.
"""
