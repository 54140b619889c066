"""Encoder `kmer`: counts of short words and the base at each place; free of weights and of licences."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vc_featurize.errors import InputError
from vc_featurize.guide.sequences import clean_dna

BASES = "ACGT"


class KmerEncoder:
    """Counts of all k-mers up to `k`, then a one-hot code of the first `places` bases (0 adds none)."""

    def __init__(self, k: int = 4, places: int = 20) -> None:
        """Choose the word length and the number of places."""
        if not 1 <= k <= 7 or places < 0:
            raise InputError(f"k-mers: expected 1 <= k <= 7 and places >= 0, found {k} and {places}.")
        self.k, self.places = k, places
        self.dim = sum(4**size for size in range(1, k + 1)) + 4 * places

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the numbers."""
        return {
            "id": f"kmer-{self.k}-places-{self.places}",
            "revision": "1",
            "pooling": "counts of k-mers, one-hot places",
            "dtype": "float32",
            "licence": "none needed",
        }

    def prepare(self, text: str) -> tuple[str | None, str]:
        """Clean DNA."""
        return clean_dna(text)

    def length(self, text: str) -> int:
        """Bases."""
        return len(text)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """`[n, dim]`."""
        place = np.full(128, -1)
        place[[ord(base) for base in BASES]] = np.arange(4)
        out = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            codes = place[np.frombuffer(text.encode("ascii"), np.uint8)]
            parts = []
            for size in range(1, self.k + 1):
                starts = max(len(codes) - size + 1, 0)
                words = np.stack([codes[i : i + starts] for i in range(size)]) if starts else np.zeros((size, 0), int)
                words = words[:, (words >= 0).all(axis=0)]
                parts.append(np.bincount(4 ** np.arange(size)[::-1] @ words, minlength=4**size))
            hot = np.zeros((self.places, 4))
            known = np.flatnonzero(codes[: self.places] >= 0)
            hot[known, codes[known]] = 1
            out[row] = np.concatenate([*parts, hot.ravel()])
        return out
