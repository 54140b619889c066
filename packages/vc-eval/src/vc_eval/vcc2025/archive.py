"""The archive that the 2025 challenge takes: checked, reduced cells, compressed, in a tar (docs/metrics.md#archive).

Checks and changes follow `cell-eval prep` in their order; what it lets pass silently (cells beyond the challenge's own
limit, another gene list than the challenge's) is said. The archive of the same input has the same bytes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import scipy.sparse
from vc_contracts.text import lists

from vc_eval.cells.archive import write_members
from vc_eval.cells.inputs import column_labels, load_cells, read_labels, source_name
from vc_eval.cells.ranked import log1p_blocks
from vc_eval.cells.settings import Settings
from vc_eval.errors import ContractError, VcEvalError

if TYPE_CHECKING:
    import anndata

WATERMARK = "vcc-prep"
MEMBERS = ("pred.h5ad.zst", "watermark.txt")
CHALLENGE_CELLS = 100_000  # of the challenge's text; the tool itself takes more


@dataclass(frozen=True, kw_only=True)
class PrepConfig:
    """What an archive holds."""

    pert_col: str = "target_gene"
    """Column of `obs` that names the perturbation."""
    control: str = "non-targeting"
    """Label of control cells."""
    celltype_col: str | None = None
    """Column of `obs` to keep as the cell type."""
    output_pert_col: str = "target_gene"
    """Its name in the archive."""
    output_celltype_col: str = "celltype"
    """Name of the cell type in the archive."""
    encoding: Literal[32, 64] = 32
    """Bits of a value."""
    allow_counts: bool = False
    """Keep counts as they are."""
    expected_genes: int | None = 18_080
    """Genes of the challenge; another number in the gene list is only said. None: any."""
    max_cells: int | None = 200_000
    """Cells beyond this are refused. None: any number."""


def read_gene_list(path: str | Path) -> list[str]:
    """Gene names, first column of a CSV without header.

    Raises:
        ContractError: If there is no such file, or a name is empty or occurs twice.
    """
    from collections import Counter

    remedy = "Pass the challenge's gene list: one name per line, no header."
    try:
        names = lists.read_names(path)
    except lists.ListError as error:
        raise ContractError(path, "file", "a list of genes", error.parts[3], remedy) from None
    twice = {name for name, n in Counter(names).items() if n > 1}
    if not names or "" in names or twice:
        raise ContractError(path, "genes", "names, each once", f"{sorted(twice)[:5] or 'an empty name'}", remedy)
    return names


def prepare_submission(
    pred: "str | Path | anndata.AnnData", genes: list[str], config: PrepConfig
) -> "tuple[anndata.AnnData, list[str]]":
    """Check predicted cells and reduce them to what the archive holds.

    Args:
        pred: Predicted cells with their controls.
        genes: The gene list, in the order wanted.
        config: What to keep.

    Returns:
        (cells with one or two columns of `obs`, log1p unless counts are kept; notes to show the user).

    Raises:
        VcEvalError: If a column, the control, genes or the number of cells do not fit.
    """
    import anndata
    import pandas as pd

    adata = load_cells(pred)
    notes = []
    labels = read_labels(adata, config.pert_col, config.control, "pred")
    obs = pd.DataFrame({config.output_pert_col: labels}, index=np.arange(adata.n_obs).astype(str))
    if config.celltype_col is not None:
        obs[config.output_celltype_col] = column_labels(adata, config.celltype_col, "pred", option="--celltype-col")
    if config.expected_genes is not None and len(genes) != config.expected_genes:
        notes.append(f"the gene list has {len(genes)} genes, the challenge {config.expected_genes}; the list is taken.")
    names = adata.var_names.astype(str).tolist()
    missing, extra = sorted(set(genes) - set(names)), sorted(set(names) - set(genes))
    if missing or extra or len(names) != len(genes):
        raise VcEvalError(
            f"pred ({source_name(adata)}): genes differ from the list: {len(missing)} missing, e.g. {missing[:5]!r}, "
            f"{len(extra)} too many, e.g. {extra[:5]!r}, {len(names)} columns for {len(genes)} names. Predict those of the list."
        )
    if names != genes:
        notes.append("genes are in another order than the list; reordered.")
    if config.max_cells is not None and adata.n_obs > config.max_cells:
        raise VcEvalError(f"pred ({source_name(adata)}): {adata.n_obs} cells, at most {config.max_cells} are taken.")
    if adata.n_obs > CHALLENGE_CELLS:
        notes.append(f"{adata.n_obs} cells; the challenge's rules name at most {CHALLENGE_CELLS}.")
    dtype = np.dtype(f"float{config.encoding}")
    # pyrefly: ignore[bad-argument-type] pandas takes any list of names here
    columns = adata.var_names.get_indexer(genes)
    whole_x = scipy.sparse.csr_matrix(cast("Any", adata.X).astype(dtype))
    matrix = cast("scipy.sparse.csr_matrix", whole_x[:, columns])
    whole = anndata.AnnData(matrix, obs=obs, var=pd.DataFrame(index=pd.Index(genes, dtype=object)))
    settings = Settings(pert_col=config.output_pert_col, control=config.control, allow_counts=config.allow_counts)
    counts = not (matrix.data % 1 > 1e-3).any()
    kept = np.ones(adata.n_obs, bool)
    blocks = [*log1p_blocks(whole, labels, settings=settings, wanted=kept, name="pred")]
    whole.X = scipy.sparse.csr_matrix(scipy.sparse.vstack(blocks, format="csr"))
    if counts and not config.allow_counts:
        whole.uns["log1p"] = {}
        notes.append("whole counts were scaled to their median and log1p.")
    return whole, notes


def write_archive(path: str | Path, cells: "anndata.AnnData", *, overwrite: bool = False) -> None:
    """Write the archive: an uncompressed tar of `pred.h5ad.zst` and `watermark.txt`.

    Args:
        path: The file.
        cells: From `prepare_submission`.
        overwrite: Replace an earlier archive.
    """
    write_members(path, {MEMBERS[0]: cells, MEMBERS[1]: WATERMARK.encode()}, overwrite=overwrite)
