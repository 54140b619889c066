"""How well a signature agrees with each effect of a bank: the score behind `target` and `moa`."""

from dataclasses import dataclass

import numpy as np

from vc_model.plan.bank import EffectBank
from vc_model.plan.doubt import false_discovery_rate, permutation_p, robust_p
from vc_model.plan.query import shared_genes

N_NULL = 200
N_DRAWS = 100


@dataclass(frozen=True, eq=False)
class Agreement:
    """Agreement of one signature with k effects.

    Attributes:
        cosine_k: [k] cosine over the shared genes, the bank's mean removed from both.
        draws_dk: [d, k] the same over genes drawn with replacement, all effects on the same genes.
        p_k: [k] the larger of two p-values: of shuffled genes (is it more than chance?) and against the bulk of the bank
            (is it more than the others?).
        q_k: [k] false discovery rate of p_k.
        weight_m: [m] weight of each shared gene.
        value_m: [m] signature on the shared genes.
        column_m: [m] their columns in the bank.
    """

    cosine_k: np.ndarray
    draws_dk: np.ndarray
    p_k: np.ndarray
    q_k: np.ndarray
    weight_m: np.ndarray
    value_m: np.ndarray
    column_m: np.ndarray


def agree(genes: tuple[str, ...], value_g: np.ndarray, bank: EffectBank, *, seed: int = 0) -> Agreement:
    """Compare a signature with a bank.

    Genes count by the inverse of their variance over the bank: what every perturbation moves says little.

    Args:
        genes: The signature's genes.
        value_g: Its values; a positive one is up.
        bank: Effects.
        seed: Of the null and of the draws.

    Raises:
        PlanError: If too few genes are shared, or the signature is 0 there.
    """
    value_m, column_m = shared_genes(genes, value_g, bank.genes, "signature")
    x_km = bank.delta_kg[:, column_m].astype(np.float64)
    mean_m, sd_m = x_km.mean(axis=0), x_km.std(axis=0)
    floor = np.median(sd_m[sd_m > 0]) if (sd_m > 0).any() else 1.0
    weight_m = 1 / (sd_m + floor)
    # What all perturbations share is in the signature at some strength of its own.
    value_m = value_m - mean_m * (value_m @ mean_m / max(mean_m @ mean_m, 1e-12))
    left_km = (x_km - mean_m) * weight_m
    right_m = value_m * weight_m
    cosine_k = _cosine(left_km, right_m)
    rng = np.random.default_rng(seed)
    shuffled_nm = np.stack([rng.permutation(right_m) for _ in range(N_NULL)])
    null_n = _cosine_many(left_km, shuffled_nm)
    p_k = np.maximum(permutation_p(cosine_k, null_n.ravel()), robust_p(cosine_k))
    draws = rng.integers(0, len(right_m), (N_DRAWS, len(right_m)))
    count_dm = np.stack([np.bincount(row, minlength=len(right_m)) for row in draws]).astype(np.float64)
    top_dk = count_dm * right_m @ left_km.T
    norm_dk = np.sqrt(np.maximum(count_dm @ np.square(left_km).T, 1e-30) * (count_dm @ right_m**2)[:, None])
    return Agreement(cosine_k, top_dk / norm_dk, p_k, false_discovery_rate(p_k), weight_m, value_m, column_m)


def _cosine(x_km: np.ndarray, y_m: np.ndarray) -> np.ndarray:
    return x_km @ y_m / np.maximum(np.linalg.norm(x_km, axis=1) * np.linalg.norm(y_m), 1e-12)


def _cosine_many(x_km: np.ndarray, y_nm: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(x_km, axis=1)[:, None] * np.linalg.norm(y_nm, axis=1)
    return x_km @ y_nm.T / np.maximum(length, 1e-12)
