"""Which pairs are sicker together than apart? From a table of measured pair scores."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from vc_model.plan.doubt import FDR, calibrate, expected_false_share
from vc_model.plan.errors import PlanError
from vc_model.plan.figures import cloud
from vc_model.plan.library import Library, check_known, read_frame
from vc_model.plan.pairs import Known, PairFit, PairScores, Recipe, choose_recipe, fit_pairs, known
from vc_model.plan.query import check_numbers, number_column
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
ROWS_AT_ONCE = 128
"""Genes whose pairs with all others are looked at together."""


_FIRST = ("genea", "gene1", "druga", "drug1", "a")
_SECOND = ("geneb", "gene2", "drugb", "drug2", "b")


def read_pairs(fpath: Path, score: str | None = None) -> pd.DataFrame:
    """A table of pairs: `gene_a`, `gene_b` (or gene1, gene2, drug_a, ...) and a score.

    A pair that is there more than once, or in both orders, is averaged later (`make_pairs`).

    Raises:
        PlanError: If a column or a name is absent, a score is not finite, or all scores are equal.
    """
    table = read_frame(fpath)
    sides = [_side(table, names) for names in (_FIRST, _SECOND)]
    if None in sides:
        raise PlanError(
            f"{fpath}: expected columns gene_a, gene_b and a score, found {list(table.columns)[:8]}. Name the two columns of "
            "genes so."
        )
    score = number_column(table.drop(columns=sides), fpath, score)
    unnamed = int(table[sides].isna().any(axis=1).sum())
    if unnamed:
        raise PlanError(
            f"{fpath}: columns {sides[0]}, {sides[1]}: expected names, found {unnamed} rows without. Drop them."
        )
    made = pd.DataFrame({"gene_a": table[sides[0]].astype(str), "gene_b": table[sides[1]].astype(str)})
    made["score"] = pd.to_numeric(table[score], errors="coerce").astype(float)
    check_numbers(made["score"].to_numpy(float), (made["gene_a"] + "+" + made["gene_b"]).tolist(), str(fpath))
    return made


def _side(table: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    """The column that goes by one of these names, whatever their case and punctuation."""
    plain = {"".join(c for c in str(name).lower() if c.isalnum()): str(name) for name in table.columns}
    return next((plain[name] for name in names if name in plain), None)


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
            f"threshold {below:g}: {hit_n.sum()} of {len(measured)} measured pairs lie below; at least 5 are needed. "
            f"Give another one (--below): a twentieth of the scores lies below {np.quantile(measured.score_n, 0.05):.3g}."
        )
    pairs = make_pairs(table, library.names if library else ())
    if query is not None:
        check_known([query], set(pairs.names), "query", "the measured genes or the library")
    features = known(library, pairs.names)
    seen_e = np.isin(np.arange(len(pairs.names)), pairs.measured)
    kinds = _kinds(seen_e, query, pairs)
    facts, doubts = {}, []
    base = float(hit_n.mean())
    told: dict[int, Kind] = {}
    for n_new in kinds:
        # How much features are worth differs between genes that other pairs tell of and genes that nothing else does.
        recipe = choose_recipe(pairs, features, n_new, seed=seed)
        left_n = _left_out(pairs, features, recipe, n_new, seed)
        hidden_n = np.isfinite(left_n)
        fact, trusted = _trust(left_n[hidden_n], pairs.score_n[hidden_n])
        facts[f"left-out Spearman, {KINDS[n_new]}"] = fact
        fitted = fit_pairs(pairs, features, recipe)
        if trusted:
            error = float((pairs.score_n[hidden_n] - left_n[hidden_n]).std())
            told[n_new] = Kind(fitted, -left_n[hidden_n], pairs.score_n[hidden_n] < below, error)
        else:
            # What cannot rank left-out pairs ranks no others.
            told[n_new] = Kind(fitted, np.zeros(0), np.zeros(0, bool), float(pairs.score_n.std()))
            doubts.append(
                f"Pairs with {KINDS[n_new]}: left-out pairs are not ranked better than chance; their order means nothing."
            )
    found = _ask(pairs, seen_e, told, base, query)
    return _decide(pairs, found, below, query, facts | {"threshold": below}, tuple(doubts))


@dataclass(frozen=True, eq=False)
class Kind:
    """What is known of pairs of one kind.

    Attributes:
        fitted: Expected scores.
        left_n: Negative predictions of left-out pairs of the kind; empty where they rank no better than chance.
        hit_n: Which of those are strong.
        sd: How far predictions were off.
    """

    fitted: PairFit
    left_n: np.ndarray
    hit_n: np.ndarray
    sd: float

    def chance(self, expected_n: np.ndarray, base: float) -> np.ndarray:
        """[n] probability of being strong."""
        if len(self.left_n) == 0:
            return np.full(len(expected_n), base)
        return calibrate(self.left_n, self.hit_n, -expected_n)


def _kinds(seen_e: np.ndarray, query: str | None, pairs: PairScores) -> list[int]:
    """How many genes of an unmeasured pair may be new."""
    if query is not None:
        first = 1 - int(seen_e[pairs.names.index(query)])
        return sorted({first + new for new in (0, 1) if (seen_e if new == 0 else ~seen_e).any()})
    n_new = int((~seen_e).sum())
    return [0, *([1] if n_new else []), *([2] if n_new > 1 else [])]


class _Lowest:
    """The lowest of many numbers with their rows and columns, `MOST_ROWS` of them."""

    def __init__(self) -> None:
        self.a_n, self.b_n = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.value_n, self.cut = np.zeros(0), np.inf

    def add(self, row_k: np.ndarray, value_kn: np.ndarray, open_kn: np.ndarray) -> None:
        """More numbers: rows by all columns, those that are open."""
        k, b = np.nonzero(open_kn & (value_kn < self.cut))
        self.a_n, self.b_n = np.append(self.a_n, row_k[k]), np.append(self.b_n, b)
        self.value_n = np.append(self.value_n, value_kn[k, b])
        if len(self.value_n) > 4 * MOST_ROWS:
            self.shorten()

    def shorten(self) -> None:
        """Leave out what is not among the lowest."""
        if len(self.value_n) > MOST_ROWS:
            kept = np.argpartition(self.value_n, MOST_ROWS)[:MOST_ROWS]
            self.a_n, self.b_n, self.value_n = self.a_n[kept], self.b_n[kept], self.value_n[kept]
            self.cut = float(self.value_n.max())


def _ask(pairs: PairScores, seen_e: np.ndarray, told: dict[int, Kind], base: float, query: str | None) -> pd.DataFrame:
    """The likeliest unmeasured pairs, a few rows of the square of all genes at once so that memory stays small.

    Raises:
        PlanError: If every pair was measured.
    """
    n = len(pairs.names)
    partners: list[list[int]] = [[] for _ in range(n)]
    for a, b in zip(pairs.a_n.tolist(), pairs.b_n.tolist(), strict=True):
        partners[a].append(b)
        partners[b].append(a)
    rows = np.arange(n) if query is None else np.array([pairs.names.index(query)])
    # Of one kind the likeliest are those of lowest expected score.
    lowest = {n_new: _Lowest() for n_new in told}
    for at in range(0, len(rows), ROWS_AT_ONCE):
        block = rows[at : at + ROWS_AT_ONCE]
        open_kn = np.ones((len(block), n), bool) if query else np.arange(n) > block[:, None]
        for row, a in enumerate(block):
            open_kn[row, [*partners[a], a]] = False
        n_new_kn = 2 - seen_e[block][:, None].astype(int) - seen_e
        for n_new, kind in told.items():
            mine_kn = open_kn & (n_new_kn == n_new)
            if mine_kn.any():
                lowest[n_new].add(block, kind.fitted.grid(block), mine_kn)
    found = []
    for n_new, kind in told.items():
        low = lowest[n_new]
        low.shorten()
        if len(low.value_n):
            row = {"a": low.a_n, "b": low.b_n, "expected": low.value_n, "chance": kind.chance(low.value_n, base)}
            found.append(pd.DataFrame({**row, "sd": kind.sd, "n_new": n_new}))
    if not found:
        raise PlanError(
            "pairs: every pair was measured; there is nothing left to predict. Give a library with more genes."
        )
    both = pd.concat(found, ignore_index=True)
    return both.iloc[np.lexsort((both["expected"], -both["chance"]))[:MOST_ROWS]]


def _trust(left_n: np.ndarray, score_n: np.ndarray) -> tuple[str, bool]:
    """What is said of predictions of left-out pairs, and whether they rank better than chance."""
    if len(left_n) < LEAST_LEFT_OUT or np.ptp(left_n) == 0:
        return f"cannot be told from {len(left_n)} pairs", False
    rho = spearmanr(left_n, score_n)
    trusted = bool(rho.statistic > 0 and rho.pvalue < 0.01)
    return f"{rho.statistic:.3f} (n = {len(left_n)}, p = {rho.pvalue:.1g})", trusted


def _left_out(pairs: PairScores, features: Known, recipe: Recipe, n_new: int, seed: int) -> np.ndarray:
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
        fitted = fit_pairs(pairs.subset(np.flatnonzero(~hidden_n)), features, recipe)
        at = np.flatnonzero((n_out_n == n_new) if n_new else hidden_n)
        left_n[at] = fitted.predict(pairs.a_n[at], pairs.b_n[at])
    return left_n


def _decide(pairs: PairScores, found: pd.DataFrame, below: float, query, facts, doubts) -> Decision:
    expected_m, chance_m, sd_m = (found[name].to_numpy(float) for name in ("expected", "chance", "sd"))
    q_m = expected_false_share(chance_m)
    called = int((q_m <= FDR).sum())
    names = np.array(pairs.names, dtype=object)
    a_m, b_m = names[found["a"]], names[found["b"]]
    label_m = a_m + "+" + b_m
    base = float((pairs.score_n < below).mean())
    rows = {
        "name": label_m,
        "effect": expected_m,
        "low": expected_m - 1.645 * sd_m,
        "high": expected_m + 1.645 * sd_m,
        "evidence": np.array(KINDS, dtype=object)[found["n_new"]],
        "doubts": np.where(chance_m < 2 * base, "hardly likelier than any pair", ""),
        "support": np.where(found["n_new"] == 0, "supported", "extrapolation"),
        "chance": chance_m,
        "q": q_m,
        "gene_a": a_m,
        "gene_b": b_m,
    }
    table = rank_table(rows, range(len(found)))
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
            expected_m,
            chance_m,
            range(min(12, len(found))),
            label_m.tolist(),
            ("expected score", f"chance of a score below {below:g}"),
        ),
        "Unmeasured pairs by expected score and calibrated chance; the first are named.",
        facts | {"measured pairs": len(pairs), "share of strong pairs": f"{base:.2%}"},
        doubts,
        called=not nothing,
    )
