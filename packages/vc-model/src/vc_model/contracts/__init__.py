"""The files this package reads and writes, from the pages in docs/contracts.

Reads screen-v1, splits-v1 and features-v1; writes and reads latents-v1, predictions-v1 and checkpoint-v1 (the last in
`vc_model.checkpoint`).
"""

from vc_model.contracts.features import FeatureBank, read_features
from vc_model.contracts.header import hash_path, make_header
from vc_model.contracts.latents import read_context_vectors, write_context_vectors
from vc_model.contracts.predictions import PredictionFile, read_predictions, write_predictions
from vc_model.contracts.screen import Screen, Splits, read_screen, read_splits

__all__ = [
    "FeatureBank",
    "PredictionFile",
    "Screen",
    "Splits",
    "hash_path",
    "make_header",
    "read_context_vectors",
    "read_features",
    "read_predictions",
    "read_screen",
    "read_splits",
    "write_context_vectors",
    "write_predictions",
]
