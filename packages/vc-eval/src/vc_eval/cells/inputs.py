"""Two AnnData that belong together: opened without loading X, and checked before anything is computed.

`open_cells` reads `obs`, `var` and the header of an .h5ad file or .zarr folder and leaves X in the file; `make_cells`
does the same for arrays. `read_pair` checks that prediction and real data hold the same genes, perturbations and contexts.
"""

import contextlib
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import scipy.sparse
from vc_contracts.errors import Refusal, raised_as
from vc_contracts.store import check_size, open_unclosed

from vc_eval.cells.settings import Settings
from vc_eval.contracts import CONTROL
from vc_eval.errors import ContractError, VcEvalError

if TYPE_CHECKING:
    import anndata
    from numpy.typing import ArrayLike

SOURCE = "vc_eval_source"  # key of uns that holds the path of what `open_cells` opened


def open_cells(path: "str | Path | anndata.AnnData") -> "anndata.AnnData":
    """Open cells without reading X: an AnnData whose X is still in the file.

    Layers, embeddings and the rest of `uns` are not read, whatever their size.

    Args:
        path: An .h5ad file or .zarr folder; an AnnData is given back as it is.

    Raises:
        ContractError: If there is nothing, or nothing readable, at the path.
    """
    import anndata

    if isinstance(path, anndata.AnnData):
        return path
    path = Path(path)
    if not path.exists():
        raise ContractError(path, "file", "cells (.h5ad or .zarr)", "nothing there", "Check the path.")
    try:
        with raised_as(ContractError):
            group = open_unclosed(path)
            check_size(group, path, but="X")
        x = group["X"]
        kind = x.attrs.get("encoding-type")
        matrix = anndata.io.sparse_dataset(x) if kind in ("csr_matrix", "csc_matrix") else x
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*names are not unique")  # refused by name where it matters
            adata = anndata.AnnData(
                matrix,
                obs=cast("Any", anndata.io.read_elem(group["obs"])),
                var=cast("Any", anndata.io.read_elem(group["var"])),
            )
        for key in ("contract", "space", "unit", "model", "role"):
            if "uns" in group and key in group["uns"]:
                adata.uns[key] = anndata.io.read_elem(group["uns"][key])
    except (MemoryError, Refusal):
        raise
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ContractError(
            path, "file", "an AnnData with X, obs and var", f"something unreadable ({first})", "Write it with anndata."
        ) from error
    adata.uns[SOURCE] = str(path)
    return adata


def load_cells(source: "str | Path | anndata.AnnData") -> "anndata.AnnData":
    """`open_cells`, with X in memory.

    Args:
        source: Path, or cells opened before.
    """
    import anndata

    adata = open_cells(source)
    x: Any = adata.X
    if scipy.sparse.issparse(x) or isinstance(x, np.ndarray):
        return adata
    whole = anndata.AnnData(
        x.to_memory() if hasattr(x, "to_memory") else x[:], obs=cast("Any", adata.obs), var=cast("Any", adata.var)
    )
    whole.uns.update(adata.uns)
    return whole


def make_cells(
    values: Any, labels: "ArrayLike", genes: "ArrayLike", *, contexts: "ArrayLike | None" = None
) -> "anndata.AnnData":
    """Cells from plain arrays, for `score_pair` with default settings.

    Args:
        values: `[n, g]` counts or log1p values, dense or sparse.
        labels: `[n]` perturbation of each cell; `non-targeting` for controls.
        genes: `[g]` names.
        contexts: `[n]` cell line of each cell, kept as `obs["context"]`; None for one context.

    Raises:
        VcEvalError: If the lengths do not fit.
    """
    import anndata
    import pandas as pd

    matrix = values if scipy.sparse.issparse(values) else np.asarray(values)
    labels, genes = np.asarray(labels).astype(str), np.asarray(genes).astype(str)
    if matrix.ndim != 2 or matrix.shape != (labels.size, genes.size):
        raise VcEvalError(
            f"cells: values have shape {matrix.shape}, labels {labels.shape}, genes {genes.shape}; expected (n, g), (n,), (g,)."
        )
    obs = pd.DataFrame({Settings.pert_col: labels}, index=[str(k) for k in range(labels.size)])
    if contexts is not None:
        obs["context"] = np.asarray(contexts).astype(str)
    return anndata.AnnData(matrix, obs=obs, var=pd.DataFrame(index=genes))


def settings_for(
    adata: "anndata.AnnData", *, pert_col: str | None, control: str | None, context_col: str | None, settings: Settings
) -> Settings:
    """Fill in column and control label where the user named none: a contract's own for a contract, else the challenge's.

    Args:
        adata: The real cells.
        pert_col: As the user said.
        control: As the user said.
        context_col: As the user said.
        settings: Everything else.
    """
    is_contract = "contract" in adata.uns
    return replace(
        settings,
        pert_col=pert_col or ("perturbation" if is_contract else Settings.pert_col),
        control=control or (CONTROL if is_contract else Settings.control),
        context_col=context_col or ("cell_line" if is_contract else None),
    )


def refuse_profiles(adata: "anndata.AnnData") -> None:
    """Refuse a predictions-v1 file of mean profiles: the rules test cells.

    Raises:
        VcEvalError: If the file says its unit is `profile`.
    """
    if str(adata.uns.get("unit")) == "profile":
        raise VcEvalError(
            f"{source_name(adata)}: holds one mean profile per condition, and rules test cells. Score it with "
            "`vc-eval split --screen ... --splits ... --pred ...`, or predict cells."
        )


def read_labels(adata: "anndata.AnnData", column: str, control: str, name: str) -> np.ndarray:
    """`[n]` labels of one column of `obs`, as strings.

    Args:
        adata: The cells.
        column: Column of `obs`.
        control: Label of control cells, which must occur.
        name: `real` or `pred`, for messages.

    Raises:
        VcEvalError: If the column is missing, a label is missing, or no cell is a control.
    """
    where = f"{name} ({source_name(adata)})"
    labels = column_labels(adata, column, name, option="--pert-col")
    if not (labels == control).any():
        found = sorted(set(labels.tolist()))
        raise VcEvalError(
            f"{where}: expected control cells labelled {control!r} in obs[{column!r}], found none among {len(found)} "
            f"labels such as {found[:5]!r}. Name the label with --control, or add the control cells."
        )
    return labels


def column_labels(adata: "anndata.AnnData", column: str, name: str, *, option: str = "") -> np.ndarray:
    """`[n]` text of a column that groups cells. One rule for all of them: a cell without a label is refused.

    Args:
        adata: The cells.
        column: Column of `obs`.
        name: `real` or `pred`, for messages.
        option: Where the user names the column, for messages.

    Raises:
        VcEvalError: If the column is missing, or a label is missing or blank.
    """
    where = f"{name} ({source_name(adata)})"
    if column not in adata.obs.columns:
        raise VcEvalError(
            f"{where}: expected the column {column!r} in obs, found {', '.join(map(str, adata.obs.columns)) or 'none'}."
            + (f" Name it with {option}." if option else "")
        )
    values = adata.obs[column]
    missing = values.isna().to_numpy(bool)
    labels = values.astype(str).to_numpy(str)
    missing = missing | (np.char.strip(labels) == "")
    if missing.any():
        raise VcEvalError(
            f"{where}: obs[{column!r}] has no label at {int(missing.sum())} cells, first {adata.obs_names[missing][0]!r}; "
            "expected a label for every cell. Label them or drop them."
        )
    return labels


def source_name(adata: "anndata.AnnData") -> str:
    """File name of cells in a file, else "in memory"."""
    path = source_path(adata)
    return repr(path.name) if path else "in memory"


def source_path(adata: "anndata.AnnData") -> Path | None:
    """File or folder that X is read from; None for X in memory."""
    if adata.isbacked:
        return Path(cast("Path", adata.filename))
    with contextlib.suppress(KeyError):
        return Path(adata.uns[SOURCE])
    return None


def read_pair(
    pred: "anndata.AnnData", real: "anndata.AnnData", settings: Settings
) -> "list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]":
    """Check that two AnnData belong together.

    Returns:
        Per context (name, labels of `pred`, labels of `real`, genes in the order of `real`); cells of other contexts
        carry the label "".

    Raises:
        VcEvalError: With the offending genes, perturbations or contexts by name.
    """
    genes = real.var_names.to_numpy(str)
    for adata, name in ((pred, "pred"), (real, "real")):
        if not adata.var_names.is_unique:
            twice = adata.var_names[adata.var_names.duplicated()][0]
            raise VcEvalError(f"{name} ({source_name(adata)}): gene {twice!r} occurs twice; expected unique names.")
    _same(set(pred.var_names.astype(str)), set(genes), pred, real, "genes")
    labels = {n: read_labels(a, settings.pert_col, settings.control, n) for a, n in ((pred, "pred"), (real, "real"))}
    if settings.context_col is None:
        _same(set(labels["pred"]), set(labels["real"]), pred, real, f"labels of obs[{settings.pert_col!r}]")
        return [("", labels["pred"], labels["real"], genes)]
    contexts = {}
    for adata, name in ((pred, "pred"), (real, "real")):
        contexts[name] = column_labels(adata, settings.context_col, name, option="--context-col")
    _same(set(contexts["pred"]), set(contexts["real"]), pred, real, f"contexts of obs[{settings.context_col!r}]")
    pairs = []
    for context in sorted(set(contexts["real"])):
        part = {name: np.where(contexts[name] == context, labels[name], "") for name in labels}
        _same(set(part["pred"]) - {""}, set(part["real"]) - {""}, pred, real, f"labels of context {context!r}")
        if settings.control not in part["real"]:
            raise VcEvalError(f"context {context!r}: no control cell labelled {settings.control!r} on either side.")
        pairs.append((context, part["pred"], part["real"], genes))
    return pairs


def _same(pred: set, real: set, pred_data: "anndata.AnnData", real_data: "anndata.AnnData", what: str) -> None:
    if pred == real:
        return
    only = [
        f"{len(extra)} only in {name} ({source_name(data)}), e.g. {[str(x) for x in sorted(extra)[:5]]!r}"
        for extra, name, data in ((pred - real, "pred", pred_data), (real - pred, "real", real_data))
        if extra
    ]
    raise VcEvalError(f"{what} differ: {'; '.join(only)}; expected the same on both sides. Drop or add them.")
