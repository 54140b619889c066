"""How does an unknown perturbation act? Its profile against effects of known ones."""

from collections.abc import Mapping

import numpy as np

from vc_model.plan.bank import EffectBank
from vc_model.plan.connect import Agreement, agree
from vc_model.plan.doubt import FDR
from vc_model.plan.figures import ranked_intervals
from vc_model.plan.results import Decision, rank_table

MOST_MECHANISMS = 3


def moa(
    genes: tuple[str, ...],
    value_g: np.ndarray,
    bank: EffectBank,
    *,
    mechanism: Mapping[str, str] | None = None,
    background_g: np.ndarray | None = None,
    seed: int = 0,
) -> Decision:
    """Rank the effects of a bank as explanations of a profile.

    Three votes: cosine; the posterior of each under Gaussian noise and equal priors; a sparse decomposition into at most
    three (orthogonal matching pursuit: Pati, Rezaiifar and Krishnaprasad, Asilomar 1993).

    Args:
        genes: Genes of the profile.
        value_g: Its values.
        bank: Effects of known perturbations.
        mechanism: Perturbation -> mechanism; adds the mechanism's best rank to each row.
        background_g: Mean of many profiles of the same kind over the same genes, which is removed first.
        seed: Of the null and the draws.

    Raises:
        PlanError: If too few genes are measured.
    """
    found = agree(genes, value_g, bank, background_g=background_g, seed=seed)
    order = np.argsort(-found.cosine_k, kind="stable")
    posterior_k = _posterior(found)
    parts, explained = decompose(found)
    low_k, high_k = np.quantile(found.draws_dk, [0.05, 0.95], axis=0)
    table = rank_table(
        {
            "name": list(bank.names),
            "effect": found.cosine_k,
            "low": low_k,
            "high": high_k,
            "evidence": [
                f"posterior {share:.2g}" + (f"; part of the decomposition ({parts[row]:+.2f})" if row in parts else "")
                for row, share in enumerate(posterior_k)
            ],
            "doubts": np.where(found.q_k > FDR, "may be chance", ""),
            "support": np.where(bank.supported_k, "supported", "extrapolation"),
            "mechanism": [(mechanism or {}).get(name, "") for name in bank.names],
            "posterior": posterior_k,
            "weight": [parts.get(row, 0.0) for row in range(len(bank.names))],
            "p": found.p_k,
            "q": found.q_k,
        },
        order,
    )
    n_called = int((found.q_k <= FDR).sum())
    named = " + ".join(bank.names[row] for row in parts)
    answer = (
        f"Most like {bank.names[order[0]]} (cosine {found.cosine_k[order[0]]:.2f}); {n_called} stand out at a false discovery "
        f"rate of {FDR:.0%}. Best mixture: {named}, {explained:.0%} of the profile's square."
        if n_called
        else f"No known effect explains the profile better than chance (false discovery rate {FDR:.0%})."
    )
    return Decision(
        "moa",
        "How does this perturbation act?",
        answer,
        table,
        lambda axes: ranked_intervals(axes, table, "cosine with the profile, with 90 % interval over genes"),
        "The known effects that are most alike.",
        {
            "effects": bank.source,
            "genes compared": len(found.goal_m),
            "share explained by the mixture": f"{explained:.3f}",
        },
        ()
        if explained > 0.1
        else ("The best mixture explains under a tenth of the profile: its mechanism may not be here.",),
        called=n_called > 0,
    )


def _posterior(found: Agreement) -> np.ndarray:
    """[k] probability of each effect at its best scale, with the noise of the best fit as scale and 30 independent genes."""
    residual_k = 1 - np.maximum(found.cosine_k, 0) ** 2
    free = min(30.0, len(found.goal_m))
    logit_k = -0.5 * free * np.log(np.maximum(residual_k, 1e-6))
    weight_k = np.exp(logit_k - logit_k.max())
    return weight_k / weight_k.sum()


def decompose(found: Agreement) -> tuple[dict[int, float], float]:
    """Rows and weights of at most three effects whose sum is nearest to the profile, and the share that they explain."""
    left_km = found.frame.left_km
    left_km = left_km / np.maximum(np.linalg.norm(left_km, axis=1, keepdims=True), 1e-12)
    goal_m = found.goal_m / max(np.linalg.norm(found.goal_m), 1e-12)
    chosen: list[int] = []
    weights, rest_m = np.zeros(0), goal_m
    for _ in range(MOST_MECHANISMS):
        gain_k = left_km @ rest_m
        gain_k[chosen] = -np.inf
        row = int(gain_k.argmax())
        trial = [*chosen, row]
        solved = np.linalg.lstsq(left_km[trial].T, goal_m, rcond=None)[0]
        left_over = goal_m - solved @ left_km[trial]
        # A part has to explain a twentieth of the square, or it is decoration.
        if rest_m @ rest_m - left_over @ left_over < 0.05 and chosen:
            break
        chosen, weights, rest_m = trial, solved, left_over
    return dict(zip(chosen, weights.tolist(), strict=True)), float(1 - rest_m @ rest_m)
