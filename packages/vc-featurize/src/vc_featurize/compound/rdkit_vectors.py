"""Encoders `morgan`, `atompair` and `descriptors` as encoders of sequences: rdkit's own threads, many SMILES at once."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from vc_featurize.compound.structure import canonical, parse
from vc_featurize.errors import InputError

Kind = Literal["morgan", "atompair", "descriptors"]


class RdkitEncoder:
    """Fingerprint counts or descriptors of canonical SMILES."""

    def __init__(
        self, kind: Kind = "morgan", n_bits: int = 2048, *, standardize: bool = True, threads: int = 0
    ) -> None:
        """Choose the vector; `threads=0` uses all cores.

        Raises:
            InputError: If rdkit is not installed or the kind is unknown.
        """
        try:
            import rdkit
            from rdkit.Chem import Descriptors
        except ImportError as error:
            raise InputError("compound features need rdkit: install `vc-featurize[chem]`.") from error
        if kind not in ("morgan", "atompair", "descriptors"):
            raise InputError(f"encoder: expected morgan, atompair or descriptors, found {kind!r}.")
        self._kind, self._standardize, self._threads = kind, standardize, threads
        self._descriptors = [name for name, _ in Descriptors.descList]
        self._n_bits = n_bits
        self.dim = len(self._descriptors) if kind == "descriptors" else n_bits
        self._identity = {
            "id": f"{kind}-{self.dim}",
            "revision": f"rdkit {rdkit.__version__}",
            "pooling": "descriptors, values beyond 1e6 cut" if kind == "descriptors" else "hashed counts, chirality on",
            "dtype": "float32",
            "licence": "BSD-3-Clause (rdkit)",
            "standardize": "salt list, uncharge; metal complexes untouched" if standardize else "none",
        }

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the numbers."""
        return self._identity

    def prepare(self, text: str) -> tuple[str | None, str]:
        """Canonical SMILES."""
        return canonical(text, standardize=self._standardize)

    def length(self, text: str) -> int:
        """One: a fingerprint costs the same whatever its molecule, near enough."""
        return 1

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """`[n, dim]`."""
        molecules = [parse(text)[0] for text in texts]
        if self._kind == "descriptors":
            from rdkit.Chem import Descriptors

            rows = [[function(m) for _, function in Descriptors.descList] for m in molecules]
            return np.clip(np.nan_to_num(np.array(rows, np.float64)), -1e6, 1e6).astype(np.float32)
        from rdkit.DataStructs import ConvertToNumpyArray

        out = np.zeros((len(texts), self.dim), np.float32)
        for row, counts in enumerate(self._generator().GetCountFingerprints(molecules, numThreads=self._threads)):
            buffer = np.zeros(self.dim, np.uint32)
            ConvertToNumpyArray(counts, buffer)
            out[row] = buffer
        return out

    def _generator(self) -> Any:
        from rdkit.Chem import rdFingerprintGenerator as generators

        if self._kind == "morgan":
            return generators.GetMorganGenerator(radius=2, fpSize=self._n_bits, includeChirality=True)
        return generators.GetAtomPairGenerator(fpSize=self._n_bits, includeChirality=True)
