"""Which pairs are sicker together than apart? From a table of measured pair scores."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from vc_model.plan.doubt import FDR, calibrate, expected_false_share
from vc_model.plan.errors import PlanError
from vc_model.plan.figures import cloud
from vc_model.plan.library import Library, check_known, read_frame
from vc_model.plan.pairs import PairScores, alikeness, choose_trial, fit_pairs
from vc_model.plan.query import check_numbers
from vc_model.plan.results import Decision, rank_table

LEAST_PAIRS = 50
LEAST_LEFT_OUT = 20
KINDS = (
    "both genes measured in other pairs",
    "one gene known by its features alone",
    "both genes known by features alone",
)
N_FOLDS = 5
MOST_ROWS = 20_000
"""Pairs that the table keeps."""


def read_pairs(fpath: Path, score: str | None = None) -> pd.DataFrame:
    """A table of pairs: `gene_a`, `gene_b` and a score.

    Raises:
        PlanError: If a column is absent, a score is not finite, a pair repeats, or all scores are equal.
    """
    table = read_frame(fpath)
    absent = [name for name in ("gene_a", "gene_b") if name not in table]
    if absent:
        raise PlanError(f"{fpath}: expected columns gene_a, gene_b and a score, found {list(table.columns)[:8]}.")
    numbers = list(table.select_dtypes("number").columns)
    score = score or next((name for name in ("score", "gi_score") if name in numbers), numbers[0] if numbers else None)
    if score not in table:
        raise PlanError(f"{fpath}: column {score!r}: not there; the table has {list(table.columns)[:10]}.")
    made = pd.DataFrame(
        {"gene_a": table["gene_a"].astype(str), "gene_b": table["gene_b"].astype(str), "score": table[score]}
    )
    check_numbers(made["score"].to_numpy(float), (made["gene_a"] + "+" + made["gene_b"]).tolist(), str(fpath))
    return made


def make_pairs(table: pd.DataFrame, names: tuple[str, ...] = ()) -> PairScores:
    """Pairs by number; a gene with itself is left out, the two orders of a pair are averaged.

    Raises:
        PlanError: If fewer than 50 pairs are left.
    """
    table = table[table["gene_a"] != table["gene_b"]]
    if len(table) < LEAST_PAIRS:
        raise PlanError(f"pairs: expected {LEAST_PAIRS} or more measured pairs, found {len(table)}.")
    names = tuple(sorted({*table["gene_a"], *table["gene_b"], *names}))
    row_of = {name: row for row, name in enumerate(names)}
    a_n, b_n = table["gene_a"].map(row_of).to_numpy(), table["gene_b"].map(row_of).to_numpy()
    both = pd.DataFrame({"a": np.minimum(a_n, b_n), "b": np.maximum(a_n, b_n), "score": table["score"].to_numpy(float)})
    both = both.groupby(["a", "b"], as_index=False)["score"].mean()
    return PairScores(names, both["a"].to_numpy(), both["b"].to_numpy(), both["score"].to_numpy())


def lethal(
    table: pd.DataFrame,
    library: Library | None = None,
    *,
    query: str | None = None,
    below: float = -3.0,
    seed: int = 0,
) -> Decision:
    """Rank unmeasured pairs by how surely their score lies below a threshold.

    The chance of each pair is calibrated on pairs that were left out and are of its kind: both genes measured in other
    pairs, one of them never measured, or neither.

    Args:
        table: Measured pairs, as `read_pairs` gives them.
        library: Genes with features, those of the pairs among them; None: the measured genes, without features.
        query: Only partners of this gene.
        below: Scores under this are strong synergy (sicker than expected).
        seed: Of folds.

    Raises:
        PlanError: For too few pairs, an unknown query, or no pair under the threshold.
    """
    measured = make_pairs(table)
    hit_n = measured.score_n < below
    if hit_n.sum() < 5:
        raise PlanError(
            f"threshold {below:g}: {hit_n.sum()} of {len(measured)} measured pairs lie below; at least 5 are needed."
        )
    pairs = make_pairs(table, library.names if library else ())
    if query is not None:
        check_known([query], set(pairs.names), "query", "the measured genes or the library")
    features_ee = alikeness(library, pairs.names) if library else np.eye(len(pairs.names))
    seen_e = np.isin(np.arange(len(pairs.names)), np.concatenate([pairs.a_n, pairs.b_n]))
    a_m, b_m = _unmeasured(pairs, query)
    n_new_m = 2 - seen_e[a_m].astype(int) - seen_e[b_m]
    expected_m, chance_m, sd_m = np.zeros(len(a_m)), np.zeros(len(a_m)), np.zeros(len(a_m))
    facts, doubts = {}, []
    for n_new in np.unique(n_new_m).tolist():
        rows = n_new_m == n_new
        # How much features are worth differs between genes that other pairs tell of and genes that nothing else does.
        trial = choose_trial(pairs, features_ee, new_entities=n_new > 0, seed=seed)
        expected_m[rows] = fit_pairs(pairs, features_ee, trial).predict(a_m[rows], b_m[rows])
        left_n = _left_out(pairs, features_ee, trial, n_new, seed)
        hidden_n = np.isfinite(left_n)
        fact, trusted = _trust(left_n[hidden_n], pairs.score_n[hidden_n])
        facts[f"left-out Spearman, {KINDS[n_new]}"] = fact
        if trusted:
            chance_m[rows] = calibrate(-left_n[hidden_n], pairs.score_n[hidden_n] < below, -expected_m[rows])
            sd_m[rows] = (pairs.score_n[hidden_n] - left_n[hidden_n]).std()
        else:
            # What cannot rank left-out pairs ranks no others.
            chance_m[rows], sd_m[rows] = hit_n.mean(), pairs.score_n.std()
            doubts.append(
                f"Pairs with {KINDS[n_new]}: left-out pairs are not ranked better than chance; their order means nothing."
            )
    return _decide(
        pairs, a_m, b_m, expected_m, chance_m, sd_m, n_new_m, below, query, facts | {"threshold": below}, tuple(doubts)
    )


def _trust(left_n: np.ndarray, score_n: np.ndarray) -> tuple[str, bool]:
    """What is said of predictions of left-out pairs, and whether they rank better than chance."""
    if len(left_n) < LEAST_LEFT_OUT or np.ptp(left_n) == 0:
        return f"cannot be told from {len(left_n)} pairs", False
    rho = spearmanr(left_n, score_n)
    trusted = bool(rho.statistic > 0 and rho.pvalue < 0.01)
    return f"{rho.statistic:.3f} (n = {len(left_n)}, p = {rho.pvalue:.1g})", trusted


def _left_out(pairs: PairScores, features_ee: np.ndarray, trial, n_new: int, seed: int) -> np.ndarray:
    """[n] predictions of pairs of which `n_new` genes were left out of the fit; NaN for pairs that never were such."""
    rng = np.random.default_rng(seed)
    left_n = np.full(len(pairs), np.nan)
    fold_n = rng.integers(0, N_FOLDS, len(pairs))
    fold_e = rng.integers(0, N_FOLDS, len(pairs.names))
    for fold in range(N_FOLDS):
        n_out_n = (fold_e[pairs.a_n] == fold).astype(int) + (fold_e[pairs.b_n] == fold)
        hidden_n = n_out_n > 0 if n_new else fold_n == fold
        if not hidden_n.any() or (~hidden_n).sum() < 10:
            continue
        fitted = fit_pairs(pairs.subset(np.flatnonzero(~hidden_n)), features_ee, trial)
        at = np.flatnonzero((n_out_n == n_new) if n_new else hidden_n)
        left_n[at] = fitted.predict(pairs.a_n[at], pairs.b_n[at])
    return left_n


def _unmeasured(pairs: PairScores, query: str | None) -> tuple[np.ndarray, np.ndarray]:
    n = len(pairs.names)
    if query is None:
        a_m, b_m = np.triu_indices(n, 1)
    else:
        row = pairs.names.index(query)
        b_m = np.delete(np.arange(n), row)
        a_m = np.full(n - 1, row)
    known = set((pairs.a_n * n + pairs.b_n).tolist())
    new_m = np.array(
        [min(a, b) * n + max(a, b) not in known for a, b in zip(a_m.tolist(), b_m.tolist(), strict=True)], bool
    )
    if not new_m.any():
        raise PlanError(
            "pairs: every pair was measured; there is nothing left to predict. Give a library with more genes."
        )
    return a_m[new_m], b_m[new_m]


def _decide(pairs, a_m, b_m, expected_m, chance_m, sd_m, n_new_m, below, query, facts, doubts) -> Decision:
    order = np.lexsort((expected_m, -chance_m))[:MOST_ROWS]
    q_m = expected_false_share(chance_m)
    called = int((q_m <= FDR).sum())
    names = np.array(pairs.names, dtype=object)
    kind_m = np.array(KINDS, dtype=object)[n_new_m]
    label_m = names[a_m] + "+" + names[b_m]
    base = float((pairs.score_n < below).mean())
    rows = {
        "name": label_m[order],
        "effect": expected_m[order],
        "low": expected_m[order] - 1.645 * sd_m[order],
        "high": expected_m[order] + 1.645 * sd_m[order],
        "evidence": kind_m[order],
        "doubts": np.where(chance_m[order] < 2 * base, "hardly likelier than any pair", ""),
        "support": np.where(n_new_m[order] == 0, "supported", "extrapolation"),
        "chance": chance_m[order],
        "q": q_m[order],
        "gene_a": names[a_m[order]],
        "gene_b": names[b_m[order]],
    }
    table = rank_table(rows, range(len(order)))
    best = table.iloc[0]
    nothing = bool((chance_m.max() - base) < 0.5 * base)
    answer = (
        "Nothing: left-out pairs cannot be ranked, so no pair is likelier than another."
        if nothing
        else f"Likeliest: {best['name']} (chance {best['chance']:.0%} of a score below {below:g}, against {base:.1%} for any pair). "
        f"{called} pairs can be called with {FDR:.0%} of them false."
    )
    question = "Which unmeasured pairs are sicker together than apart?"
    return Decision(
        "lethal",
        question if query is None else f"Which partner of {query} is lethal with it?",
        answer,
        table,
        lambda axes: cloud(
            axes,
            expected_m[order],
            chance_m[order],
            range(min(12, len(order))),
            label_m[order].tolist(),
            ("expected score", f"chance of a score below {below:g}"),
        ),
        "Unmeasured pairs by expected score and calibrated chance; the first are named.",
        facts | {"measured pairs": len(pairs), "share of strong pairs": f"{base:.2%}"},
        doubts,
        called=not nothing,
    )
