"""Do two banks say the same about the entities they share: centred kernel alignment and shared nearest neighbours.

References:
    Kornblith et al., Similarity of Neural Network Representations Revisited, ICML 2019 (linear CKA).
"""

from dataclasses import dataclass

import numpy as np

from vc_featurize.bank import FeatureBank
from vc_featurize.errors import InputError

MIN_SHARED = 4


@dataclass(frozen=True)
class Agreement:
    """How far two banks agree.

    Attributes:
        n: Entities that both know.
        cka: Linear centred kernel alignment, 0 to 1.
        neighbours: Mean share of the k nearest (by cosine) that are the same.
        chance: What `neighbours` is for two unrelated banks.
        k: Neighbours compared.
    """

    n: int
    cka: float
    neighbours: float
    chance: float
    k: int


def compare_banks(first: FeatureBank, second: FeatureBank, k: int = 10) -> Agreement:
    """Compare the rows that neither bank is missing.

    Raises:
        InputError: If fewer than four entities are shared.
    """
    rows = []
    for bank in (first, second):
        rows.append({name: row for row, name in enumerate(bank.entities) if not bank.missing[row]})
    shared = sorted(set(rows[0]) & set(rows[1]))
    if len(shared) < MIN_SHARED:
        raise InputError(f"compare: expected at least {MIN_SHARED} shared entities, found {len(shared)}.")
    a, b = (
        bank.vectors_ef[[row[name] for name in shared]].astype(np.float64)
        for bank, row in zip((first, second), rows, strict=True)
    )
    k = min(k, len(shared) - 1)
    near_a, near_b = nearest(a, k), nearest(b, k)
    same = np.mean([len(set(x) & set(y)) / k for x, y in zip(near_a, near_b, strict=True)])
    return Agreement(len(shared), linear_cka(a, b), float(same), k / (len(shared) - 1), k)


def linear_cka(a_nf: np.ndarray, b_nf: np.ndarray) -> float:
    """Linear centred kernel alignment of two matrices with the same rows; 0 where one is constant."""
    a_nf, b_nf = a_nf - a_nf.mean(axis=0), b_nf - b_nf.mean(axis=0)
    gram_a, gram_b = a_nf @ a_nf.T, b_nf @ b_nf.T
    scale = np.linalg.norm(gram_a) * np.linalg.norm(gram_b)
    return float((gram_a * gram_b).sum() / scale) if scale > 0 else 0.0


def nearest(vectors_nf: np.ndarray, k: int) -> np.ndarray:
    """`[n, k]` rows nearest to each row by cosine, itself left out; equal ones in row order."""
    unit = vectors_nf / np.maximum(np.linalg.norm(vectors_nf, axis=1, keepdims=True), 1e-12)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    return np.argsort(-similar, axis=1, kind="stable")[:, :k]
