"""Encoders that are networks (extra `torch`): loading under stated rules, forward passes, pooling."""
