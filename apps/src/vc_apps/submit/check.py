"""Every rule of a challenge on a file of cells; each broken one with its own message: rule, field, found, expected, mend.

All are checked, and all that are broken are said at once. Order and limits are those of `cell-eval prep` 0.8.2 and of `vcc prep`
0.3.0, with what the first lets pass and the server or the score does not: perturbations that were not asked for, NaN.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vc_apps.outputs import AppError
from vc_apps.submit.challenge import CONTROL_LABEL, PERT_COLUMN, Challenge

if TYPE_CHECKING:
    import anndata
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Broken:
    """One broken rule."""

    code: str
    """Stable name of the rule."""
    field: str
    """Where in the file."""
    expected: str
    found: str
    mend: str
    """What to do."""

    def __str__(self) -> str:
        return f"[{self.code}] {self.field}: expected {self.expected}, found {self.found}. {self.mend}"


class SubmissionRefused(AppError):
    """A file that the challenge would refuse or score wrongly; `broken` lists why."""

    def __init__(self, path: Path, rule: str, broken: list[Broken]) -> None:
        self.broken = broken
        super().__init__(f"{path}: {rule}: {len(broken)} broken rule(s):\n" + "\n".join(f"  {one}" for one in broken))


def require(path: Path, challenge: Challenge) -> "anndata.AnnData":
    """The cells of a file, when every rule is kept.

    Raises:
        SubmissionRefused: With every broken rule.
    """
    import warnings

    from vc_contracts.store import read_anndata

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*names are not unique")  # said below, as a broken rule
            cells = read_anndata(path)
    except (OSError, KeyError, ValueError) as error:
        broken = Broken(
            "not_h5ad", "file", "an .h5ad with cells", f"none that can be read ({error})", "Write it again."
        )
        raise SubmissionRefused(path, challenge.rule, [broken]) from None
    broken = check(cells, challenge)
    if broken:
        raise SubmissionRefused(path, challenge.rule, broken)
    return cells


def check(cells: "anndata.AnnData", challenge: Challenge) -> list[Broken]:
    """Every rule that the cells break; empty if they may be sent in."""
    found = [*_genes(cells, challenge), *_labels(cells, challenge), *_size(cells, challenge)]
    return [*found, *_values(cells, challenge)]


def _genes(cells: "anndata.AnnData", challenge: Challenge) -> Iterator[Broken]:
    names = [str(name) for name in cells.var_names]
    wanted = set(challenge.genes)
    twice = len(names) - len(set(names))
    missing, extra = [g for g in challenge.genes if g not in set(names)], [n for n in names if n not in wanted]
    if twice:
        yield Broken("duplicate_genes", "var index", "every gene once", f"{twice} repeated", "Sum or drop the repeats.")
    if missing:
        yield Broken("missing_genes", "var index", f"all {len(wanted)} genes of the list", f"{len(missing)} missing, e.g. "
                     f"{missing[:3]}", "Fill them with the mean of the control cells.")  # fmt: skip
    if extra:
        yield Broken("extra_genes", "var index", "genes of the list only", f"{len(extra)} others, e.g. {extra[:3]}",
                     "Drop them.")  # fmt: skip
    if not (twice or missing or extra) and tuple(names) != challenge.genes:
        first = next(at for at, (a, b) in enumerate(zip(names, challenge.genes, strict=True)) if a != b)
        yield Broken("gene_order", "var index", f"the order of the list ({challenge.genes[first]!r} at {first})",
                     f"{names[first]!r} there", "Sort the columns by the list.")  # fmt: skip


def _labels(cells: "anndata.AnnData", challenge: Challenge) -> Iterator[Broken]:
    context_column, absent = challenge.context_column, False
    for column in (PERT_COLUMN, context_column):
        if column not in cells.obs:
            absent = True
            yield Broken(
                f"no_{column}", "obs", f"a column {column!r}", f"{list(cells.obs.columns)[:6]}", "Rename or add it."
            )
    if absent:
        return
    obs = cast("pd.DataFrame", cells.obs)
    if obs[[PERT_COLUMN, context_column]].isna().any(axis=None):
        yield Broken("missing_label", "obs", "a label for every cell", "empty ones", "Label these cells, or drop them.")
    labels, contexts = obs[PERT_COLUMN].astype(str), obs[context_column].astype(str)
    n_control = int((labels == CONTROL_LABEL).sum())
    if challenge.controls and not n_control:
        yield Broken("controls_absent", f"obs[{PERT_COLUMN!r}]", f"control cells labelled {CONTROL_LABEL!r}", "none",
                     "Add the control cells of the challenge, unchanged.")  # fmt: skip
    if not challenge.controls and n_control:
        yield Broken("controls_present", f"obs[{PERT_COLUMN!r}]", "no control cells (the scorer adds its own)",
                     f"{n_control} labelled {CONTROL_LABEL!r}", "Drop them.")  # fmt: skip
    yield from _contexts(labels, contexts, challenge)


def _contexts(labels, contexts, challenge: Challenge) -> Iterator[Broken]:
    found, wanted = set(contexts), set(challenge.wanted)
    if found - wanted:
        yield Broken("unknown_context", f"obs[{challenge.context_column!r}]", f"{sorted(wanted)}", f"also "
                     f"{sorted(found - wanted)[:3]}", "Drop these cells.")  # fmt: skip
    if wanted - found:
        yield Broken("missing_context", f"obs[{challenge.context_column!r}]", f"{sorted(wanted)}", f"none of "
                     f"{sorted(wanted - found)[:3]}", "Predict these contexts too; one file holds all.")  # fmt: skip
    sizes = labels.groupby([contexts, labels], observed=True).size()
    for context in sorted(found & wanted):
        here = sizes.loc[context].drop(CONTROL_LABEL, errors="ignore").to_dict()
        asked = challenge.wanted[context]
        missing, extra = sorted(set(asked) - set(here)), sorted(set(here) - set(asked))
        if missing:
            yield Broken("missing_perturbation", context, f"all {len(asked)} perturbations of the list", f"{len(missing)} "
                         f"missing, e.g. {missing[:3]}", "Predict them; control cells are better than nothing.")  # fmt: skip
        if extra:
            yield Broken("unknown_perturbation", context, "perturbations of the list (gene symbols)", f"{len(extra)} others, "
                         f"e.g. {extra[:3]}", "Drop them, or write the symbol of the gene.")  # fmt: skip
        wrong = {name: here[name] for name in sorted(set(asked) & set(here)) if here[name] != asked[name]}
        if wrong and challenge.exact_cells:
            name = min(wrong)
            yield Broken("cells_per_perturbation", context, f"{asked[name]} cells of {name}", f"{wrong[name]} "
                         f"({len(wrong)} perturbations differ)", "Emit exactly as many: --cells.")  # fmt: skip


def _size(cells: "anndata.AnnData", challenge: Challenge) -> Iterator[Broken]:
    if cells.n_obs > challenge.max_cells:
        yield Broken("too_many_cells", "obs", f"at most {challenge.max_cells:,} cells", f"{cells.n_obs:,}",
                     "Emit fewer cells of each perturbation.")  # fmt: skip
    matrix: Any = cells.X
    stored = int(matrix.nnz) if hasattr(matrix, "nnz") else int(matrix.size)
    if stored > challenge.max_stored:
        yield Broken("too_many_stored", "X", f"at most {challenge.max_stored:,} stored values (explicit zeros count)",
                     f"{stored:,}", "Write whole counts as a sparse matrix and drop stored zeros.")  # fmt: skip


def _values(cells: "anndata.AnnData", challenge: Challenge) -> Iterator[Broken]:
    import numpy as np
    import scipy.sparse as sp

    matrix: Any = cells.X
    values = np.asarray(matrix.data if sp.issparse(matrix) else matrix).ravel()
    if values.dtype.kind not in "fiu":
        yield Broken("dtype", "X", "numbers (float32)", str(values.dtype), "Write float32.")
        return
    if values.dtype.itemsize > 4 and values.dtype.kind == "f":
        yield Broken("dtype", "X", "float32", str(values.dtype), "Write float32: the file is half as large.")
    if not np.isfinite(values).all():
        yield Broken("not_finite", "X", "finite values", f"{int((~np.isfinite(values)).sum()):,} NaN or infinite",
                     "Repair the prediction; one NaN poisons the mean.")  # fmt: skip
        return
    if values.size and values.min() < 0:
        yield Broken("negative", "X", "values of 0 or more", f"{values.min():g}", "Cut at 0.")
    whole = not (np.abs(values - np.trunc(values)) > 1e-6).any()
    if challenge.rule == "vcc2026" and not whole:
        yield Broken(
            "not_counts", "X", "whole counts", f"{_example(values):g}", "Give counts, not log values; round at random."
        )
    if challenge.rule == "vcc2025" and not whole and values.size and values.max() >= 15:
        yield Broken(
            "scale", "X", "whole counts, or log1p values below 15", f"{values.max():g}", "Take log1p after scaling."
        )
    yield from _totals(cells, challenge)


def _totals(cells: "anndata.AnnData", challenge: Challenge) -> Iterator[Broken]:
    import numpy as np

    matrix: Any = cells.X
    total_n = np.asarray(matrix.sum(axis=1, dtype=np.float64)).ravel()
    if (total_n > challenge.max_total).any():
        yield Broken("cell_total", "X", f"at most {challenge.max_total:,.0f} counts in a cell", f"{total_n.max():,.0f}",
                     "Scale the depth down to the controls'.")  # fmt: skip
    if PERT_COLUMN in cells.obs:
        label_n = cells.obs[PERT_COLUMN].astype(str).to_numpy()
        empty = sorted(label for label in np.unique(label_n) if not total_n[label_n == label].any())
        if empty:
            yield Broken("empty_perturbation", "X", "counts for every perturbation", f"none for {empty[:3]}",
                         "Emit at least the control cells.")  # fmt: skip


def _example(values: "np.ndarray") -> float:
    import numpy as np

    return float(values[np.argmax(np.abs(values - np.trunc(values)) > 1e-6)])
