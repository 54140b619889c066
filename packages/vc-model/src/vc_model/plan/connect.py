"""How well a signature agrees with each effect of a bank: the score behind `target` and `moa`."""

from dataclasses import dataclass

import numpy as np
from vc_contracts.targets import match_names

from vc_model.plan.bank import EffectBank
from vc_model.plan.doubt import calibrate, false_discovery_rate, permutation_p, robust_p
from vc_model.plan.query import shared_genes

N_NULL, N_DRAWS, _N_QUESTIONS = 200, 100, 60
"""Shufflings of genes, draws of genes with replacement, and measured effects that calibration asks for at most."""
HIT_SHARE = 0.05
"""Share of the measured effects that count as hits of a question: the best ones."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """Agreement of one signature with k effects.

    Attributes:
        cosine_k: [k] cosine over the shared genes, the bank's mean removed from both; for effects that were predicted from
            features, the cosine that a measurement is expected to have.
        draws_dk: [d, k] the same over genes drawn with replacement, all effects on the same genes, and over what
            predictions from features were wrong by.
        p_k: [k] the larger of two p-values: of shuffled genes (is it more than chance?) and against the bulk of the bank
            (is it more than the others?).
        q_k: [k] false discovery rate of p_k.
        chance_k: [k] probability of being among the best twentieth if it were measured (without noise).
        frame: The bank on the shared genes.
        goal_m: [m] the signature, centred and weighed.
    """

    cosine_k: np.ndarray
    draws_dk: np.ndarray
    p_k: np.ndarray
    q_k: np.ndarray
    chance_k: np.ndarray
    frame: "Frame"
    goal_m: np.ndarray


@dataclass(frozen=True, eq=False)
class Frame:
    """A bank on the genes that it shares with signatures.

    Attributes:
        column_m: [m] the shared genes' columns in the bank.
        mean_m: [m] mean effect of the bank.
        weight_m: [m] inverse square root of each gene's spread over the bank (Pareto scaling, van den Berg et al., BMC Genomics
            7:142 (2006)): what every perturbation moves says little, and the smallest changes are mostly noise.
        left_km: [k, m] effects, centred and weighed.
    """

    column_m: np.ndarray
    mean_m: np.ndarray
    weight_m: np.ndarray
    left_km: np.ndarray

    def goal(self, value_qm: np.ndarray, background_m: np.ndarray | None = None) -> np.ndarray:
        """[..., m] signatures, weighed, less what all perturbations share.

        Args:
            value_qm: [..., m] signatures.
            background_m: [m] mean of many signatures of the same kind, if there are; default: the bank's mean, at the
                strength that it has in each signature.
        """
        if background_m is not None:
            return (value_qm - background_m) * self.weight_m
        share_q = value_qm @ self.mean_m / max(self.mean_m @ self.mean_m, 1e-12)
        return (value_qm - np.multiply.outer(share_q, self.mean_m)) * self.weight_m


def frame(bank: EffectBank, column_m: np.ndarray) -> Frame:
    """A bank on some of its genes."""
    x_km = bank.delta_kg[:, column_m].astype(np.float64)
    told = slice(None) if bank.foretold is None else ~bank.foretold.new_k
    mean_m, sd_m = x_km[told].mean(axis=0), x_km[told].std(axis=0)
    floor = np.median(sd_m[sd_m > 0]) if (sd_m > 0).any() else 1.0
    weight_m = 1 / np.sqrt(sd_m + floor)
    return Frame(column_m, mean_m, weight_m, (x_km - mean_m) * weight_m)


def agree(
    genes: tuple[str, ...],
    value_g: np.ndarray,
    bank: EffectBank,
    *,
    background_g: np.ndarray | None = None,
    seed: int = 0,
) -> Agreement:
    """Compare a signature with a bank.

    Args:
        genes: The signature's genes.
        value_g: Its values; a positive one is up.
        bank: Effects.
        background_g: Mean of many signatures of the same kind over the same genes, which is then removed.
        seed: Of the null and of the draws.

    Raises:
        PlanError: If too few genes are shared, or the signature is 0 there.
    """
    value_m, column_m = shared_genes(genes, value_g, bank.genes, "signature")
    back_m = None
    if background_g is not None:
        value_of = dict(zip(match_names(genes, bank.genes), background_g, strict=True))
        back_m = np.array([value_of[column] for column in column_m])
    made = frame(bank, column_m)
    left_km, right_m = made.left_km, made.goal(value_m, back_m)
    rng = np.random.default_rng(seed)
    cosine_k = cosines(left_km, right_m[None])[:, 0]
    shuffled_nm = np.stack([rng.permutation(right_m) for _ in range(N_NULL)])
    null_n = cosines(left_km, shuffled_nm)
    p_k = np.maximum(permutation_p(cosine_k, null_n.ravel()), robust_p(cosine_k))
    draws = rng.integers(0, len(right_m), (N_DRAWS, len(right_m)))
    count_dm = np.stack([np.bincount(row, minlength=len(right_m)) for row in draws]).astype(np.float64)
    top_dk = count_dm * right_m @ left_km.T
    norm_dk = np.sqrt(np.maximum(count_dm @ np.square(left_km).T, 1e-30) * (count_dm @ right_m**2)[:, None])
    draws_dk = top_dk / norm_dk
    if bank.foretold is None:
        chance_k = (draws_dk >= np.quantile(cosine_k, 1 - HIT_SHARE)).mean(axis=0)
        return Agreement(cosine_k, draws_dk, p_k, false_discovery_rate(p_k), chance_k, made, right_m)
    return _with_foretold(bank, made, cosine_k, draws_dk, p_k, right_m, rng)


def _with_foretold(bank: EffectBank, made: Frame, cosine_k, draws_dk, p_k, right_m, rng) -> Agreement:
    """Predicted effects get the cosine to expect, its error and a calibrated chance, from effects predicted unseen.

    What is learned from one signature is little, so measured effects serve as further signatures; an effect is never
    compared with itself.
    """
    told = bank.foretold
    assert told is not None
    seen = told.rows
    unseen_nm = ((told.mean_g + told.left_out_nr @ told.axes_rg)[:, made.column_m] - made.mean_m) * made.weight_m
    more = rng.choice(len(seen), min(_N_QUESTIONS, len(seen)), replace=False)
    goals_qm = np.vstack([right_m, made.left_km[seen[more]]])
    real_nq, said_nq = cosines(made.left_km[seen], goals_qm), cosines(unseen_nm, goals_qm)
    use_nq = np.ones(real_nq.shape, bool)
    use_nq[more, np.arange(1, len(more) + 1)] = False
    hit_nq = real_nq >= np.quantile(real_nq, 1 - HIT_SHARE, axis=0)
    said_n, real_n = said_nq[use_nq], real_nq[use_nq]
    slope = max(float(said_n @ real_n / max(said_n @ said_n, 1e-12)), 0.0)
    error = float((real_n - slope * said_n).std())
    new_k = told.new_k
    chance_k = (draws_dk >= np.quantile(cosine_k[~new_k], 1 - HIT_SHARE)).mean(axis=0)
    chance_k[new_k] = calibrate(said_n, hit_nq[use_nq], cosine_k[new_k])
    draws_dk = draws_dk.copy()
    draws_dk[:, new_k] = slope * draws_dk[:, new_k] + error * rng.standard_normal((len(draws_dk), new_k.sum()))
    expected_k = np.where(new_k, slope * cosine_k, cosine_k)
    return Agreement(expected_k, draws_dk, p_k, false_discovery_rate(p_k), chance_k, made, right_m)


def cosines(x_km: np.ndarray, y_nm: np.ndarray) -> np.ndarray:
    """[k, n] cosines of rows."""
    length_kn = np.linalg.norm(x_km, axis=1)[:, None] * np.linalg.norm(y_nm, axis=1)
    return x_km @ y_nm.T / np.maximum(length_kn, 1e-12)
