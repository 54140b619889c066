"""Encoder `dipeptide`: how often each pair of neighbouring residues occurs; free of weights and of licences."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vc_featurize.protein.sequences import RESIDUES, clean_protein


class DipeptideEncoder:
    """Square roots of the shares of the 400 residue pairs (Hellinger geometry: inner products are overlaps)."""

    dim = len(RESIDUES) ** 2

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the numbers."""
        return {
            "id": "dipeptide",
            "revision": "1",
            "pooling": "square root of the share of each residue pair",
            "dtype": "float32",
            "licence": "none needed",
        }

    def prepare(self, text: str) -> tuple[str | None, str]:
        """A clean sequence of at least two residues."""
        sequence, note = clean_protein(text)
        return (None, "shorter than two residues") if sequence is not None and len(sequence) < 2 else (sequence, note)

    def length(self, text: str) -> int:
        """Residues."""
        return len(text)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """`[n, 400]`."""
        place = np.full(128, -1)
        place[[ord(letter) for letter in RESIDUES]] = np.arange(len(RESIDUES))
        out = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            codes = place[np.frombuffer(text.encode("ascii"), np.uint8)]
            first, second = codes[:-1], codes[1:]
            pairs = (first * len(RESIDUES) + second)[(first >= 0) & (second >= 0)]
            counts = np.bincount(pairs, minlength=self.dim)
            out[row] = np.sqrt(counts / max(counts.sum(), 1))
        return out
