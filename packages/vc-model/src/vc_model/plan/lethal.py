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

    The chance of each pair is calibrated on pairs that were left out and are of its kind (both genes measured in other
    pairs, or one of them never measured).

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
    trial = choose_trial(pairs, features_ee, new_entities=False, seed=seed)
    fitted = fit_pairs(pairs, features_ee, trial)
    a_m, b_m = _unmeasured(pairs, query)
    expected_m = fitted.predict(a_m, b_m)
    chance_m, sd_m, facts = np.zeros(len(a_m)), np.zeros(len(a_m)), {}
    doubts = []
    for new, rows in ((False, seen_e[a_m] & seen_e[b_m]), (True, ~(seen_e[a_m] & seen_e[b_m]))):
        if rows.any():
            left = _left_out(pairs, features_ee, trial, new, seed)
            hidden_n = np.isfinite(left)
            if hidden_n.sum() < 20:
                raise PlanError("pairs: too few to check predictions of new genes; give more pairs.")
            chance_m[rows] = calibrate(-left[hidden_n], pairs.score_n[hidden_n] < below, -expected_m[rows])
            sd_m[rows] = (pairs.score_n[hidden_n] - left[hidden_n]).std()
            rho = spearmanr(left[hidden_n], pairs.score_n[hidden_n])
            kind = "one gene never measured" if new else "both genes measured in other pairs"
            facts[f"left-out Spearman, {kind}"] = f"{rho.statistic:.3f} (n = {hidden_n.sum()}, p = {rho.pvalue:.1g})"
            if not (rho.statistic > 0 and rho.pvalue < 0.01):
                # What cannot rank left-out pairs ranks no others.
                chance_m[rows] = hit_n.mean()
                doubts.append(
                    f"Pairs with {kind}: left-out pairs are not ranked better than chance; their order means nothing."
                )
    return _decide(
        pairs, a_m, b_m, expected_m, chance_m, sd_m, seen_e, below, query, facts | {"threshold": below}, tuple(doubts)
    )


def _left_out(pairs: PairScores, features_ee: np.ndarray, trial, new: bool, seed: int) -> np.ndarray:
    """[n] predictions of pairs that were left out of the fit; NaN for pairs that were in every fit."""
    rng = np.random.default_rng(seed)
    left_n = np.full(len(pairs), np.nan)
    fold_n = rng.integers(0, N_FOLDS, len(pairs))
    fold_e = rng.integers(0, N_FOLDS, len(pairs.names))
    for fold in range(N_FOLDS):
        hidden_n = (fold_e[pairs.a_n] == fold) | (fold_e[pairs.b_n] == fold) if new else fold_n == fold
        if not hidden_n.any() or (~hidden_n).sum() < 10:
            continue
        fitted = fit_pairs(pairs.subset(np.flatnonzero(~hidden_n)), features_ee, trial)
        said_n = fitted.predict(pairs.a_n[hidden_n], pairs.b_n[hidden_n])
        at = np.flatnonzero(hidden_n)
        if new:
            one = (fold_e[pairs.a_n[at]] == fold) ^ (fold_e[pairs.b_n[at]] == fold)
            at, said_n = at[one], said_n[one]
        left_n[at] = said_n
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


def _decide(pairs, a_m, b_m, expected_m, chance_m, sd_m, seen_e, below, query, facts, doubts) -> Decision:
    order = np.lexsort((expected_m, -chance_m))[:MOST_ROWS]
    q_m = expected_false_share(chance_m)
    called = int((q_m <= FDR).sum())
    names = np.array(pairs.names, dtype=object)
    both = seen_e[a_m] & seen_e[b_m]
    label_m = names[a_m] + "+" + names[b_m]
    base = float((pairs.score_n < below).mean())
    rows = {
        "name": label_m[order],
        "effect": expected_m[order],
        "low": expected_m[order] - 1.645 * sd_m[order],
        "high": expected_m[order] + 1.645 * sd_m[order],
        "evidence": np.where(both[order], "both genes measured in other pairs", "a gene known by its features alone"),
        "doubts": np.where(chance_m[order] < 2 * base, "hardly likelier than any pair", ""),
        "support": np.where(both[order], "supported", "extrapolation"),
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
