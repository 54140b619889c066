"""`vc rehearse`: what the score of a real entry will be, from entries that are played through on screens at hand.

`holdouts` decides what is held out, `play` makes and scores one entry, `tune` chooses the emitter's knobs on training
perturbations, `expect` turns scores into an expectation whose coverage is counted, `run` is the command.
"""
