"""What is asked about: measured scores, scores of pairs, profiles; read and checked."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from vc_contracts.targets import match_names
from vc_contracts.text.plain import is_unnamed, plain_gene

from vc_model.plan.errors import PlanError
from vc_model.plan.library import check_unique, read_frame

LEAST_GENES = 20
"""Measured genes that a signature has to share with what it is compared with."""
logger = logging.getLogger(__name__)

_SCORES = (
    *(
        "score",
        "lfc",
        "value",
        "effect",
        "giscore",
        "logfc",
        "log2fc",
        "log2foldchange",
        "logfoldchange",
        "logfoldchanges",
    ),
    *("avglog2fc", "avglogfc", "zscore", "z", "beta", "coef"),
)
"""Names of the column that is meant, without case and punctuation, in order."""
_NAMES = ("gene", "perturbation", "name", "target", "symbol", "drug", "compound", "gene_name")


@dataclass(frozen=True, eq=False)
class Scores:
    """One number per entity.

    Attributes:
        names: The n entities, each once.
        score_n: [n] float64, finite.
        hit_n: [n] bool whether each counts as a hit, where that was decided, else None.
    """

    names: tuple[str, ...]
    score_n: np.ndarray
    hit_n: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, rows: np.ndarray) -> "Scores":
        """The given rows."""
        rows = np.arange(len(self))[rows]
        hit_n = None if self.hit_n is None else self.hit_n[rows]
        return Scores(tuple(self.names[row] for row in rows), self.score_n[rows], hit_n)


def read_scores(fpath: Path, name: str | None = None, score: str | None = None, hit: str | None = None) -> Scores:
    """Read a table of scores.

    Args:
        fpath: .parquet, .csv or .tsv.
        name: Column of names; default: `gene` or a like name, else the first column of text.
        score: Column of numbers; default: `score` or a usual name of effects, else the only column of numbers.
        hit: Column that says what is a hit; default: `hit` where there is one.

    Raises:
        PlanError: For absent columns, repeated names, NaN, or scores that are all equal.
    """
    table = read_frame(fpath)
    name = name_column(table, fpath, name)
    score = number_column(table.drop(columns=name), fpath, score)
    if hit is not None and hit not in table:
        raise PlanError(f"{fpath}: column {hit!r}: not there; the table has {list(table.columns)[:10]}.")
    hit = hit or ("hit" if "hit" in table and table["hit"].dtype == bool else None)
    hits = None if hit is None else table[hit].astype(bool).to_numpy()
    return make_scores(table[name].astype(str), table[score], hits, str(fpath))


def make_scores(names: pd.Series, score: pd.Series, hit_n: np.ndarray | None = None, what: str = "scores") -> Scores:
    """Checked scores; see `read_scores` for what is refused."""
    check_unique(names, what)
    score_n = pd.to_numeric(score, errors="coerce").to_numpy(np.float64)
    check_numbers(score_n, list(names), what)
    return Scores(tuple(names), score_n, hit_n)


def check_numbers(value_n: np.ndarray, names: list[str], what: str) -> None:
    """Refuse numbers that are not finite, and numbers that are all equal.

    Raises:
        PlanError: Names the first few.
    """
    bad = np.flatnonzero(~np.isfinite(value_n))
    if len(bad):
        found = ", ".join(names[row] for row in bad[:5])
        raise PlanError(
            f"{what}: expected finite numbers, found {len(bad)} that are not ({found}). Drop or measure them."
        )
    if len(value_n) > 1 and np.ptp(value_n) == 0:
        raise PlanError(f"{what}: all {len(value_n)} numbers are {value_n[0]:g}; nothing can be learned from them.")


def name_column(table: pd.DataFrame, fpath: Path, given: str | None) -> str:
    """The column of names: the given one, one of the usual names (whose names may be numbers, as Entrez ids), else the first of text.

    Raises:
        PlanError: If it is not there, or none can be guessed.
    """
    numbers = table.select_dtypes(["number", "bool"]).columns
    fitting = [name for name in table.columns if name not in numbers]
    usual = [name for name in _NAMES if name in table]
    if given is None and (usual or fitting):
        return str([*usual, *fitting][0])
    return _there(table, fpath, given, "names")


def number_column(table: pd.DataFrame, fpath: Path, given: str | None) -> str:
    """The column of numbers: the given one, one of the usual names, else the only one. Which of several it is, is said.

    Raises:
        PlanError: If it is not there, or several could be meant.
    """
    kinds = table.select_dtypes("number").columns
    fitting = {plain_gene(str(name)): str(name) for name in reversed(kinds) if not is_unnamed(str(name))}
    if given is not None or not fitting:
        return _there(table, fpath, given, "numbers")
    found = next((fitting[name] for name in _SCORES if name in fitting), None)
    others = ", ".join(sorted(fitting.values()))
    if found is None and len(fitting) > 1:
        raise PlanError(
            f"{fpath}: expected one column of numbers, found {others}. Call the one that is meant `score`, or leave the others "
            "out (vc discover next and lethal: --score-column)."
        )
    if found is None:
        return next(iter(fitting.values()))
    if len(fitting) > 1 and found != "score":
        logger.warning("%s: of the columns %s, %r is taken for the scores", fpath, others, found)
    return found


def _there(table: pd.DataFrame, fpath: Path, given: str | None, what: str) -> str:
    if given is None:
        raise PlanError(f"{fpath}: found no column of {what} among {list(table.columns)[:10]}.")
    if given not in table:
        raise PlanError(f"{fpath}: column {given!r}: not there; the table has {list(table.columns)[:10]}.")
    return given


def read_profile(fpath: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Genes and values of one profile (a signature): a table with a column of genes and one of numbers.

    Raises:
        PlanError: As `read_scores`.
    """
    scores = read_scores(fpath)
    return scores.names, scores.score_n


def shared_genes(
    genes: tuple[str, ...], value_g: np.ndarray, measured: tuple[str, ...], what: str
) -> tuple[np.ndarray, np.ndarray]:
    """Where a profile's genes are measured: values [m] and columns [m].

    Raises:
        PlanError: If fewer than `LEAST_GENES` are, or all values are 0 there.
    """
    column_of = dict(zip(match_names(genes, measured), value_g, strict=True))
    pairs = [(value, column) for column, value in column_of.items() if column >= 0]
    if len(pairs) < LEAST_GENES:
        raise PlanError(
            f"{what}: {len(pairs)} of its {len(genes)} genes are measured (e.g. {list(genes[:3])} against {list(measured[:3])}); "
            f"at least {LEAST_GENES} are needed. Give genes as they are named there, or a larger signature."
        )
    value_m = np.array([value for value, _ in pairs])
    if not value_m.any():
        raise PlanError(
            f"{what}: all values are 0 on the measured genes; the goal equals the start. There is nothing to reach."
        )
    return value_m, np.array([column for _, column in pairs])
