"""Encoders `nt2` and `nt3`: Nucleotide Transformer v2 and v3, whose weights are not for commercial use.

Version 3 does not mask its padding, so every sequence is padded with N to one fixed length, part of the bank's identity;
only the sequence's own bases are averaged. Both run modelling code of their own, which has to be allowed (`--code`).

References:
    Dalla-Torre et al., Nature Methods 2025 (v2).
"""

from vc_featurize.errors import InputError
from vc_featurize.guide.sequences import clean_dna
from vc_featurize.network.rules import Weights
from vc_featurize.network.transformer import TransformerEncoder

LICENCE = "CC BY-NC-SA 4.0 (not for commercial use; share alike)"


def nt2_encoder(weights: Weights, *, dtype: str = "float32", device: str = "auto") -> TransformerEncoder:
    """Version 2: words of six bases, padding masked; windows of 12,000 bases."""
    return TransformerEncoder(
        weights, architectures=("esm",), clean=clean_dna, window=12_000, dtype=dtype, device=device, licence=LICENCE
    )


def nt3_encoder(
    weights: Weights, *, length: int = 128, dtype: str = "float32", device: str = "auto"
) -> TransformerEncoder:
    """Version 3: one token a base, padded with N to `length`, a multiple of 32 (128 for most weights).

    Raises:
        InputError: If the length cannot be halved five times.
    """
    if length < 32 or length % 32:
        raise InputError(f"length: expected a multiple of 32 (128 for most weights), found {length}.")
    return TransformerEncoder(
        weights, clean=clean_dna, pad_to=length, pad_text="N", dtype=dtype, device=device, licence=LICENCE
    )
