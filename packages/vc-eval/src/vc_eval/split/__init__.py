"""Mean profiles on a split, condition by condition."""
