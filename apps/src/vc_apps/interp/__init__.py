"""`vc interp`: what a fitted model has learnt, from its checkpoint to a page."""
