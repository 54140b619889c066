"""Encoders of guides and other short DNA, and the rules by which a protospacer is read."""
