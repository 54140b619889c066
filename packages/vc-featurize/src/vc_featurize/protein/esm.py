"""Encoders `esm2` and `esmc`: protein language models through the generic transformer encoder.

References:
    Lin et al., Science 2023 (ESM-2); the ESM Cambrian report of EvolutionaryScale, 2024 (ESM C).
"""

from vc_featurize.network.rules import Weights
from vc_featurize.network.transformer import TransformerEncoder
from vc_featurize.protein.sequences import clean_protein

# Residues a window: what each family was trained on, less the two special tokens.
WINDOW = {"esm": 1022, "esmc": 2046}
OVERLAP = 256


def esm2_encoder(weights: Weights, *, dtype: str = "float32", device: str = "auto") -> TransformerEncoder:
    """ESM-2 of any size: mean over residues, windows of 1,022 residues that overlap by 256.

    Raises:
        InputError: If the checkpoint is of another architecture or the rules refuse it.
    """
    return _encoder(weights, "esm", "MIT", dtype, device)


def esmc_encoder(weights: Weights, *, dtype: str = "float32", device: str = "auto") -> TransformerEncoder:
    """ESM C of any size: mean over residues of the last, normalised hidden states.

    Raises:
        InputError: If the checkpoint is of another architecture or the rules refuse it.
    """
    return _encoder(weights, "esmc", "see the model card of the weights", dtype, device)


def _encoder(weights: Weights, family: str, licence: str, dtype: str, device: str) -> TransformerEncoder:
    return TransformerEncoder(
        weights,
        architectures=(family,),
        clean=clean_protein,
        window=WINDOW[family],
        overlap=OVERLAP,
        dtype=dtype,
        device=device,
        licence=licence,
    )
