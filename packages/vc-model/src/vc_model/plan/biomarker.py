"""Which baseline features of cell lines go with their response?"""

import numpy as np
from scipy.stats import rankdata, t

from vc_model.plan.doubt import FDR, false_discovery_rate
from vc_model.plan.errors import PlanError
from vc_model.plan.figures import ranked_intervals
from vc_model.plan.library import check_unique
from vc_model.plan.query import check_numbers
from vc_model.plan.results import Decision, rank_table
from vc_model.plan.surrogate import fit_posterior

LEAST_CONTEXTS = 20
N_HALVES = 100


def biomarker(
    contexts: tuple[str, ...],
    response_n: np.ndarray,
    names: tuple[str, ...],
    baseline_nf: np.ndarray,
    *,
    adjust_nk: np.ndarray | None = None,
    seed: int = 0,
) -> Decision:
    """Rank baseline features by their partial rank correlation with response, with stability over halves of the contexts.

    Args:
        contexts: Names of the n contexts (cell lines).
        response_n: [n] response; which direction is sensitive is for the user to know.
        names: Names of the f features.
        baseline_nf: [n, f] baseline values, nothing measured after treatment.
        adjust_nk: [n, k] what is removed from both first (lineage as 0 and 1, mean expression).
        seed: Of the halves. Source of the halves: Meinshausen and Buhlmann, J. R. Stat. Soc. B 72 (2010) 417-473.

    Raises:
        PlanError: For repeated contexts or features, numbers that are not finite, or responses that are all equal.
    """
    check_unique(contexts, "contexts")
    check_unique(names, "features")
    check_numbers(response_n, list(contexts), "response")
    if baseline_nf.shape != (len(contexts), len(names)) or len(names) == 0:
        raise PlanError(f"baseline: expected [{len(contexts)}, {len(names)}] numbers, found {baseline_nf.shape}.")
    bad_f = ~np.isfinite(baseline_nf).all(axis=0)
    if bad_f.any():
        some = ", ".join(np.array(names, dtype=object)[bad_f][:5])
        raise PlanError(
            f"baseline: expected finite numbers, found others in {bad_f.sum()} features ({some}). Drop those."
        )
    n, k = len(contexts), 0 if adjust_nk is None else adjust_nk.shape[1]
    y_n = _adjusted(rankdata(response_n)[:, None], adjust_nk)[:, 0]
    x_nf = _adjusted(rankdata(baseline_nf, axis=0), adjust_nk)
    r_f = _correlation(x_nf, y_n)
    free = max(n - 2 - k, 1)
    p_f = 2 * t.sf(np.abs(r_f) * np.sqrt(free / np.maximum(1 - r_f**2, 1e-12)), free)
    q_f = false_discovery_rate(p_f)
    stable_f = _stability(x_nf, y_n, seed)
    half = 1.645 / np.sqrt(max(n - 3 - k, 1))
    z_f = np.arctanh(np.clip(r_f, -0.999999, 0.999999))
    powered = n >= LEAST_CONTEXTS
    table = rank_table(
        {
            "name": list(names),
            "effect": r_f,
            "low": np.tanh(z_f - half),
            "high": np.tanh(z_f + half),
            "evidence": [f"among the first in {share:.0%} of {N_HALVES} halves" for share in stable_f],
            "doubts": np.where(q_f > FDR, "may be chance", np.where(stable_f < 0.5, "not stable over halves", "")),
            "support": "supported" if powered else "no support",
            "p": p_f,
            "q": q_f,
            "stability": stable_f,
        },
        np.lexsort((p_f, -np.round(stable_f, 2))),
    )
    called = int((q_f <= FDR).sum()) if powered else 0
    if not powered:
        answer = f"Underpowered: {n} contexts, at least {LEAST_CONTEXTS} are needed. The order below is no evidence."
    elif called:
        answer = f"{called} of {len(names)} features go with response at a false discovery rate of {FDR:.0%}; first {table.iloc[0]['name']}."
    else:
        answer = f"No feature goes with response at a false discovery rate of {FDR:.0%}."
    return Decision(
        "biomarker",
        f"Which of {len(names)} baseline features modify the response of {n} contexts?",
        answer,
        table,
        lambda axes: ranked_intervals(axes, table, "rank correlation with response, 90 % interval"),
        "The most stable features.",
        {"contexts": n, "adjusted for": k, "seed": seed},
        ("Correlation over lines: a marker may stand for a lineage or for another gene beside it.",) if k == 0 else (),
        called=called > 0,
    )


def predict_response(
    baseline_nf: np.ndarray, response_n: np.ndarray, new_mf: np.ndarray, *, seed: int = 0
) -> np.ndarray:
    """[m] response of contexts that were not measured, from all baseline features together (ridge, variances fitted)."""
    mean_f, sd_f = baseline_nf.mean(axis=0), np.maximum(baseline_nf.std(axis=0), 1e-9)
    scale = np.sqrt(baseline_nf.shape[1])
    posterior = fit_posterior([(baseline_nf - mean_f) / sd_f / scale], rankdata(response_n), seed=seed)
    return posterior.mean((new_mf - mean_f) / sd_f / scale)


def _adjusted(x_nf: np.ndarray, adjust_nk: np.ndarray | None) -> np.ndarray:
    design_nk = np.ones((len(x_nf), 1)) if adjust_nk is None else np.column_stack([np.ones(len(x_nf)), adjust_nk])
    return x_nf - design_nk @ np.linalg.lstsq(design_nk, x_nf, rcond=None)[0]


def _correlation(x_nf: np.ndarray, y_n: np.ndarray) -> np.ndarray:
    x_nf, y_n = x_nf - x_nf.mean(axis=0), y_n - y_n.mean()
    return y_n @ x_nf / np.maximum(np.linalg.norm(x_nf, axis=0) * np.linalg.norm(y_n), 1e-12)


def _stability(x_nf: np.ndarray, y_n: np.ndarray, seed: int) -> np.ndarray:
    """[f] share of random halves in which a feature is among the first twentieth (at least three)."""
    rng = np.random.default_rng(seed)
    most = max(3, x_nf.shape[1] // 20)
    count_f = np.zeros(x_nf.shape[1])
    for _ in range(N_HALVES):
        rows = rng.choice(len(y_n), max(3, len(y_n) // 2), replace=False)
        count_f[np.argsort(-np.abs(_correlation(x_nf[rows], y_n[rows])), kind="stable")[:most]] += 1
    return count_f / N_HALVES
