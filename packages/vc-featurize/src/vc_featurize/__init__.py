"""Features of perturbed entities: gene sets and compounds into one checked bank, torch-free.

Writes and reads the contract features-v1 (`bank`). One file per encoder: a function that takes entities and returns a
`FeatureBank`. Submodules are imported where they are needed, so that importing the package stays cheap.
"""

__version__ = "0.1.0"
