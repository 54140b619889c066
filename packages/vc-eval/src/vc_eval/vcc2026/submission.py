"""Check a 2026 prediction before it is sent in: every rule of the upload client, each with a code of its own.

All rules are checked and all violations returned, so that one run shows everything there is to repair. The scorer
itself is laxer: it takes any number of cells and ignores predicted controls.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import scipy.sparse

from vc_eval.errors import VcEvalError

if TYPE_CHECKING:
    import anndata

N_GENES = 18_533  # length of the challenge's gene list


@dataclass(frozen=True, kw_only=True)
class SubmissionRules:
    """What one phase of the challenge asks for."""

    genes: Sequence[str]
    """The gene list, in its order."""
    perturbations: Mapping[str, Mapping[str, int] | Sequence[str]]
    """Context -> perturbations, or context -> {perturbation: cells}."""
    cells_per_perturbation: int = 400
    max_cells: int = 400_000
    max_stored: int = 4_750_000_000
    """Stored values of the sparse matrix."""
    max_counts_per_cell: float = 1e6
    """A cell may hold this many, not more."""
    pert_col: str = "target_gene"
    context_col: str = "context"
    control: str = "non-targeting"
    celltype_col: str | None = None
    """Must exist if named."""

    def cells(self, context: str) -> dict[str, int]:
        """Perturbation -> number of cells of one context."""
        listed = self.perturbations[context]
        if isinstance(listed, Mapping):
            return dict(listed)
        return dict.fromkeys(listed, self.cells_per_perturbation)


@dataclass(frozen=True)
class Violation:
    """One broken rule: a stable code, and what was expected and found."""

    code: str
    message: str


class SubmissionError(VcEvalError):
    """A prediction that would be rejected. Remedy: repair what `violations` lists."""

    def __init__(self, violations: list[Violation]) -> None:
        self.violations = violations
        super().__init__("submission: " + " ".join(f"[{v.code}] {v.message}" for v in violations))


def check_submission(adata: "anndata.AnnData", rules: SubmissionRules) -> list[Violation]:
    """Every rule the prediction breaks, in the order of the upload client; empty if it may be sent in.

    Checks that need a sound matrix or sound labels are left out while those are not sound.

    Args:
        adata: Predicted raw counts `[n, g]` of all contexts of the phase, without control cells.
        rules: Of the phase.

    References:
        docs/metrics.md#vcc2026.
    """
    violations = list(_structure(adata.X))
    sound = not violations
    violations += _names(adata, rules)
    violations += _labels(adata, rules)
    violations += _genes(adata, rules)
    if adata.n_obs > rules.max_cells:
        violations.append(
            Violation("too_many_cells", f"expected at most {rules.max_cells:,} cells, found {adata.n_obs:,}.")
        )
    if sound:
        violations += _values(adata, rules)
    return violations


def require_submission(adata: "anndata.AnnData", rules: SubmissionRules) -> None:
    """Refuse a prediction that breaks a rule.

    Raises:
        SubmissionError: With every violation.
    """
    violations = check_submission(adata, rules)
    if violations:
        raise SubmissionError(violations)


def _structure(matrix: Any) -> Iterator[Violation]:
    """Consistency of the compressed index arrays."""
    if not scipy.sparse.issparse(matrix) or matrix.format not in ("csr", "csc"):
        return
    major, minor = matrix.shape if matrix.format == "csr" else matrix.shape[::-1]
    pointer, indices = np.asarray(matrix.indptr), np.asarray(matrix.indices)
    if pointer.size != major + 1:
        yield Violation("pointer_length", f"expected {major + 1:,} row pointers, found {pointer.size:,}.")
    elif pointer[0] != 0:
        yield Violation("pointer_start", f"expected the first row pointer to be 0, found {pointer[0]}.")
    elif (np.diff(pointer) < 0).any():
        yield Violation("pointer_order", "row pointers decrease; expected them never to.")
    elif pointer[-1] > matrix.data.size:
        yield Violation("pointer_end", f"row pointers end at {pointer[-1]:,} of {matrix.data.size:,} stored values.")
    if matrix.data.size != indices.size:
        yield Violation("index_length", f"{matrix.data.size:,} values but {indices.size:,} indices.")
    elif indices.size and (indices.min() < 0 or indices.max() >= minor):
        yield Violation(
            "index_range", f"indices run from {indices.min()} to {indices.max()}; expected 0 to {minor - 1}."
        )


def _names(adata: "anndata.AnnData", rules: SubmissionRules) -> Iterator[Violation]:
    names = adata.var_names
    if not all(isinstance(name, str) for name in names):
        yield Violation("gene_names_not_text", "gene names must be text.")
    if names.has_duplicates:
        twice = sorted({str(name) for name in names[names.duplicated()]})
        yield Violation("duplicate_genes", f"{len(twice)} gene names occur twice (first: {', '.join(twice[:3])}).")
    if adata.n_obs == 0:
        yield Violation("no_cells", "the prediction holds no cell.")
    if rules.celltype_col is not None and rules.celltype_col not in adata.obs.columns:
        yield Violation("no_celltype_column", f"obs has no column {rules.celltype_col!r}.")


def _labels(adata: "anndata.AnnData", rules: SubmissionRules) -> Iterator[Violation]:
    """Perturbations, contexts and cells of each."""
    if rules.pert_col not in adata.obs.columns:
        yield Violation("no_perturbation_column", f"obs has no column {rules.pert_col!r}.")
    if rules.context_col not in adata.obs.columns:
        yield Violation("no_context_column", f"obs has no column {rules.context_col!r}.")
    if not {rules.pert_col, rules.context_col} <= set(adata.obs.columns) or adata.n_obs == 0:
        return
    if any(adata.obs[name].isna().any() for name in (rules.pert_col, rules.context_col)):
        yield Violation("missing_label", "some cells have no perturbation or no context.")
    labels = adata.obs[rules.pert_col].astype(str)
    contexts = adata.obs[rules.context_col].astype(str)
    if (labels == rules.control).any():
        yield Violation(
            "control_cells",
            f"{int((labels == rules.control).sum()):,} cells are labelled {rules.control!r}; the scorer adds the real "
            "controls, drop them.",
        )
    found, expected = set(contexts), set(rules.perturbations)
    if found - expected:
        yield Violation("unknown_context", f"contexts {_first(found - expected)} are not part of this phase.")
    if expected - found:
        yield Violation("missing_context", f"contexts {_first(expected - found)} are not predicted.")
    sizes = labels.groupby([contexts, labels], observed=True).size()
    for context in sorted(found & expected):
        wanted = rules.cells(context)
        here = {
            label: int(n)
            for (place, label), n in cast("Iterator[Any]", sizes.items())
            if place == context and label != rules.control
        }
        missing, extra = set(wanted) - set(here), set(here) - set(wanted)
        if missing:
            yield Violation("missing_perturbation", f"{context}: {len(missing)} not predicted ({_first(missing)}).")
        if extra:
            yield Violation("unknown_perturbation", f"{context}: {len(extra)} not in the list ({_first(extra)}).")
        wrong = {name: here[name] for name in set(wanted) & set(here) if here[name] != wanted[name]}
        if wrong:
            name = min(wrong)
            yield Violation(
                "cells_per_perturbation",
                f"{context}: {len(wrong)} perturbations have another number of cells than asked for ({name}: expected "
                f"{wanted[name]}, found {wrong[name]}).",
            )


def _genes(adata: "anndata.AnnData", rules: SubmissionRules) -> Iterator[Violation]:
    """The set must be that of the list; the order may differ, the client sorts it out."""
    if len(set(rules.genes)) != len(rules.genes):
        yield Violation("gene_list_repeats", "the gene list names a gene twice; take it anew.")
    found = {str(name) for name in adata.var_names}
    missing, extra = set(rules.genes) - found, found - set(rules.genes)
    if missing:
        yield Violation("missing_genes", f"{len(missing)} genes of the list are missing ({_first(missing)}).")
    if extra:
        yield Violation("unknown_genes", f"{len(extra)} genes are not in the list ({_first(extra)}).")


def _values(adata: "anndata.AnnData", rules: SubmissionRules) -> Iterator[Violation]:
    """Counts, cell totals and empty perturbations."""
    csr = scipy.sparse.csr_array(adata.X)
    values = csr.data
    if values.size > rules.max_stored:
        yield Violation(
            "too_many_stored", f"expected at most {rules.max_stored:,} stored values, found {values.size:,}."
        )
    if not np.isfinite(values).all():
        yield Violation("not_finite", f"{int((~np.isfinite(values)).sum()):,} values are not finite.")
        return
    if values.size and values.min() < 0:
        yield Violation("negative", f"the smallest value is {values.min():g}; counts are 0 or more.")
    fraction = np.abs(values - np.trunc(values)) > 1e-6
    if fraction.any():
        yield Violation(
            "not_counts", f"{int(fraction.sum()):,} values are not whole numbers (first {values[fraction][0]:g})."
        )
    totals = np.asarray(csr.sum(axis=1, dtype=np.float64)).ravel()
    if (totals > rules.max_counts_per_cell).any():
        yield Violation(
            "cell_total",
            f"{int((totals > rules.max_counts_per_cell).sum()):,} cells hold more than {rules.max_counts_per_cell:,.0f} "
            f"counts (largest {totals.max():,.0f}).",
        )
    if {rules.pert_col, rules.context_col} <= set(adata.obs.columns):
        keys = adata.obs[rules.context_col].astype(str) + "/" + adata.obs[rules.pert_col].astype(str)
        names, code = np.unique(keys.to_numpy(str), return_inverse=True)
        empty = names[np.bincount(code, weights=np.abs(totals), minlength=names.size) == 0]
        if empty.size:
            yield Violation("empty_perturbation", f"{empty.size} perturbations hold no count ({_first(set(empty))}).")


def _first(names: set) -> str:
    return ", ".join(sorted(str(name) for name in names)[:3])
