"""What a challenge's rule asks for, as data, from its own lists or from a split that stands for them."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vc_apps.outputs import AppError

CONTROL_LABEL = "non-targeting"
PERT_COLUMN = "target_gene"


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """One rule, filled with names."""

    rule: Literal["vcc2025", "vcc2026"]
    genes: tuple[str, ...]
    """In their order."""
    wanted: dict[str, dict[str, int]]
    """Context -> perturbation -> cells."""
    expected_genes: int
    """Length that the real list has."""
    max_cells: int
    """More cells are refused."""
    max_stored: int
    """More stored values are refused; a stored zero counts."""
    max_total: float
    """A cell may hold this many counts."""
    stated_cells: int | None = None
    """More cells than the text of the rules names is said, not refused."""

    @property
    def controls(self) -> bool:
        """Whether control cells belong into the file."""
        return self.rule == "vcc2025"

    @property
    def context_column(self) -> str:
        """Column of obs with the cell line."""
        return "context" if self.rule == "vcc2026" else "celltype"

    @property
    def exact_cells(self) -> bool:
        """Whether every perturbation must have exactly its number of cells."""
        return self.rule == "vcc2026"


LIMITS: dict[str, dict[str, Any]] = {
    "vcc2025": {"expected_genes": 18_080, "max_cells": 200_000, "max_stored": 2**62, "max_total": float("inf"),
                "stated_cells": 100_000},
    "vcc2026": {"expected_genes": 18_533, "max_cells": 400_000, "max_stored": 4_750_000_000, "max_total": 1e6},
}  # fmt: skip
DEFAULT_CELLS = {"vcc2025": 100, "vcc2026": 400}


def make_challenge(
    rule: Literal["vcc2025", "vcc2026"], genes: tuple[str, ...], wanted: dict[str, dict[str, int]]
) -> Challenge:
    """The rule with its limits."""
    return Challenge(rule=rule, genes=genes, wanted=wanted, **LIMITS[rule])


def read_gene_names(path: Path) -> tuple[str, ...]:
    """A list of genes as people save it; see `vc_contracts.text.lists.read_names`.

    Raises:
        AppError: If there is no such file, or a name is empty or occurs twice.
    """
    from vc_contracts.text import lists

    try:
        names = lists.read_names(path)
    except lists.ListError as error:
        raise AppError(f"--genes {error}") from None
    twice = sorted(name for name, n in Counter(names).items() if n > 1)
    if not names or "" in names or twice:
        raise AppError(
            f"--genes {path}: expected names, each once, found {twice[:5] or 'an empty name'}. Take it anew."
        )
    return tuple(names)


def read_wanted(path: Path, contexts: tuple[str, ...], cells: int) -> dict[str, dict[str, int]]:
    """Perturbations and cells of each context from the challenge's list.

    Args:
        path: A CSV with a column `target_gene`; `n_cells` and `context` are read where they are there.
        contexts: All contexts, for a list that names none.
        cells: Where it does not say how many.

    Raises:
        AppError: If the file or a column is not as expected.
    """
    from vc_contracts.text import lists

    try:
        header, *body = lists.read_rows(path) or [[]]
    except lists.ListError as error:
        raise AppError(f"--perturbations {error}") from None
    rows = [dict(zip(header, row, strict=False)) for row in body]
    if not rows or PERT_COLUMN not in rows[0]:
        raise AppError(
            f"--perturbations {path}: header: expected a column {PERT_COLUMN!r}, found {sorted(rows[0]) if rows else 'no row'}. "
            "Give the challenge's list."
        )
    wanted: dict[str, dict[str, int]] = {context: {} for context in contexts}
    for row in rows:
        name = row[PERT_COLUMN].strip()
        if name == CONTROL_LABEL:
            continue
        try:
            number = lists.whole_number(row["n_cells"]) if row.get("n_cells") else cells
        except ValueError:
            raise AppError(
                f"--perturbations {path}: n_cells: expected whole numbers, found {row['n_cells']!r}."
            ) from None
        for context in (row["context"],) if row.get("context") else contexts:
            if wanted.setdefault(context, {}).setdefault(name, number) != number:
                raise AppError(f"--perturbations {path}: expected each perturbation once, found {name!r} twice.")
    return wanted
