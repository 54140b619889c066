"""A context that a model has never seen, given by its unperturbed cells alone."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import scipy.sparse as sp

from vc_model.ask.questions import QuestionError
from vc_model.contracts import read_screen
from vc_model.table.coexpression import coexpression
from vc_model.table.effects import Contexts
from vc_model.table.pseudobulk import COEXPRESSION_CELLS, TARGET_SUM

LEAST_OVERLAP = 0.5  # share of the model's genes that the cells have to measure
FEWEST_CELLS = 10


def read_contexts(path: Path | str, like: Contexts) -> tuple[Contexts, list[str]]:
    """Control cells of a screen-v1 as contexts of a model; perturbed cells are not read.

    Args:
        path: A screen-v1.
        like: The model's contexts.

    Returns:
        The contexts, and notes on what was filled in.

    Raises:
        ContractError: If the file is no screen.
        QuestionError: If too few genes or cells are there.
    """
    screen = read_screen(path)
    rows = np.flatnonzero(screen.obs["is_control"].to_numpy())
    if len(rows) == 0:
        raise QuestionError(
            f"{path}: cells: expected unperturbed cells, found none. Convert with the control label set."
        )
    cuts = np.flatnonzero(np.diff(rows) > 1) + 1
    runs = [screen.rows(int(run[0]), int(run[-1]) + 1) for run in np.split(rows, cuts)]
    x_ng = cast("sp.csr_matrix", sp.vstack(runs, format="csr"))
    measured = screen.var["measured"].to_numpy()
    genes = np.where(measured, screen.var.index.astype(str), "")
    obs = screen.obs.iloc[rows]
    total_n = obs["total_counts"].to_numpy(dtype=np.float64)
    return make_contexts(str(path), x_ng, genes, obs["cell_line"].astype(str).to_numpy(), like, total_n)


def make_contexts(
    name: str,
    x_ng: sp.csr_matrix,
    genes: np.ndarray,
    line_n: np.ndarray,
    like: Contexts,
    total_n: np.ndarray | None = None,
) -> tuple[Contexts, list[str]]:
    """Raw counts of unperturbed cells as contexts over the model's genes.

    Genes of the model that the cells do not measure take the mean of the model's own contexts.

    Args:
        name: Where the cells come from, for messages.
        x_ng: [n, h] raw counts.
        genes: [h] names; empty for a column that was not measured.
        line_n: [n] cell line of each cell.
        like: The model's contexts.
        total_n: [n] library sizes over everything the source measured; by default the sums of `x_ng`.

    Raises:
        QuestionError: For values that are no counts, another species, a panel without overlap, or too few cells.
    """
    _check_counts(name, x_ng)
    column_g = _align(name, genes, like.genes)
    there_g = column_g >= 0
    lines = tuple(dict.fromkeys(line_n.tolist()))
    few = [line for line in lines if (line_n == line).sum() < FEWEST_CELLS]
    if few:
        raise QuestionError(
            f"{name}: cells: expected at least {FEWEST_CELLS} of each cell line, found fewer of {few[:5]}."
        )
    total_n = np.asarray(x_ng.sum(axis=1)).ravel() if total_n is None else total_n
    x_ng = sp.csr_matrix(x_ng[:, np.where(there_g, column_g, 0)], dtype=np.float32)
    x_ng.data = np.log1p(x_ng.data * np.repeat(TARGET_SUM / np.maximum(total_n, 1), np.diff(x_ng.indptr))).astype(
        np.float32
    )
    mean, spread, shown, sample = [], [], [], []
    per_line = max(1, COEXPRESSION_CELLS // len(lines))
    for at, line in enumerate(lines):
        own_ng: Any = x_ng[line_n == line]
        mean_g = np.asarray(own_ng.mean(axis=0)).ravel()
        square_g = np.asarray(own_ng.multiply(own_ng).mean(axis=0)).ravel()
        mean.append(np.where(there_g, mean_g, like.input_cg.mean(axis=0)))
        variance_g = np.maximum((square_g - mean_g**2) * own_ng.shape[0] / (own_ng.shape[0] - 1), 1e-6)
        spread.append(np.where(there_g, variance_g, like.sigma2_cg.mean(axis=0)))
        shown.append(np.where(there_g, np.asarray((own_ng > 0).mean(axis=0)).ravel(), like.detected_cg.mean(axis=0)))
        rows = np.linspace(0, own_ng.shape[0] - 1, min(per_line, own_ng.shape[0])).astype(np.int64)
        sample.append((at, np.where(there_g, own_ng[rows].toarray(), 0).astype(np.float32)))
    loadings_cgk, _ = coexpression(sample, len(lines), len(like.genes), like.basis_gk)
    loadings_cgk[:, ~there_g] = like.loadings_cgk.mean(axis=0)[~there_g]
    base_cg = np.stack(mean).astype(np.float32)
    contexts = Contexts(
        like.genes,
        lines,
        base_cg,
        base_cg,
        np.stack(spread).astype(np.float32),
        np.stack(shown).astype(np.float32),
        loadings_cgk,
        like.basis_gk,
    )
    absent = int((~there_g).sum())
    notes = [f"{name}: {len(line_n)} unperturbed cells of {', '.join(lines[:5])}"]
    if absent:
        notes.append(f"{absent} of the model's {len(like.genes)} genes are not measured in {name}; they take its mean")
    return contexts, notes


def _check_counts(name: str, x_ng: sp.csr_matrix) -> None:
    some = x_ng.data[: 1 << 20]
    if len(some) == 0 or not np.isfinite(some).all() or (some < 0).any() or (some != np.floor(some)).any():
        raise QuestionError(
            f"{name}: X: expected raw counts (whole numbers >= 0), found others, as normalised values have. Give raw counts."
        )


def _align(name: str, genes: np.ndarray, wanted: tuple[str, ...]) -> np.ndarray:
    """[g] column of each of the model's genes, -1 where it is not measured."""
    place: dict[str, int] = {}
    for column, gene in enumerate(genes.tolist()):
        if gene:
            place.setdefault(gene, column)
    column_g = np.array([place.get(gene, -1) for gene in wanted], dtype=np.int64)
    share = float((column_g >= 0).mean())
    if share >= LEAST_OVERLAP:
        return column_g
    folded = {gene.casefold() for gene in place}
    alike = float(np.mean([gene.casefold() in folded for gene in wanted]))
    some = list(place)[:3]
    if alike >= LEAST_OVERLAP or (some and all(gene.startswith("ENSMUSG") for gene in some)):
        raise QuestionError(
            f"{name}: genes: expected those of the model, e.g. {list(wanted[:3])}, found the names of another species, "
            f"e.g. {some}. Map them to orthologues first."
        )
    raise QuestionError(
        f"{name}: genes: expected at least half of the model's {len(wanted)}, e.g. {list(wanted[:3])}, found "
        f"{(column_g >= 0).sum()} of them among names like {some}. Name genes as the model does."
    )
