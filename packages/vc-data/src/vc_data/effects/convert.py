"""`vc-data convert-effects`: a table of effects as effects-v1, one row a condition of one batch or replicate."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from vc_data.contract import check_target, make_header, sha256_tree
from vc_data.effects.options import EffectsOptions
from vc_data.effects.rows import NO_BATCH, read_rows, row_table
from vc_data.effects.source import EffectsSource, column, read_source
from vc_data.effects.values import SPACE_OF, Effects, clipped, less_controls, logarithm, ranks
from vc_data.errors import OptionError, SourceError, TooFewError, few

if TYPE_CHECKING:
    import anndata


def convert_effects(source: Path, output: Path, options: EffectsOptions) -> list[str]:
    """Convert a file and write it, whole or not at all.

    Args:
        source: .h5ad, .zarr, .csv, .tsv or .parquet.
        output: .zarr or .h5ad.
        options: What the values mean, and where what is.

    Returns:
        What was done, in words.

    Raises:
        VcDataError: The file cannot be read as what the options say.
        OutputError: The output exists or cannot be written.
    """
    import vc_contracts
    from vc_contracts.errors import raised_as

    from vc_data.errors import ContractError

    if output.suffix not in (".zarr", ".h5ad"):
        raise OptionError(
            output, "output", "a name that ends in .zarr or .h5ad", repr(output.name), "Choose such a name."
        )
    check_target(output, kind="effects", overwrite=options.overwrite, inputs=[source])
    adata, said = make_effects(read_source(source, options), source, options)
    if options.dry_run:
        return said
    config = {"values": options.values, "base": options.base, "control": list(options.control), "clip": options.clip}
    header = make_header("effects", parents={source.name: sha256_tree(source)}, config=config)
    adata.uns["contract"] = json.dumps(header, sort_keys=True)
    with raised_as(ContractError):
        vc_contracts.write(output, adata, "effects", overwrite=options.overwrite, inputs=[source])
    return said


def make_effects(found: EffectsSource, path: Path, options: EffectsOptions) -> "tuple[anndata.AnnData, list[str]]":
    """The effects-v1 table of a source, without its header, and what was done."""
    import anndata

    cells, notes = read_rows(found, path, options)
    if options.strict and notes.questions:
        do = "Answer each with the flag that it names, or leave --strict out."
        said = f"{len(notes.questions)}: {'; '.join(notes.questions)}"
        raise OptionError(path, "--strict", "no open question", said, do)
    n_cells_n = np.full(len(found.obs), np.nan, np.float32)
    if options.n_cells is not None:
        n_cells_n = column(found.obs, options.n_cells, path, "rows").to_numpy(np.float32)
    obs = row_table(cells, n_cells_n)
    found = found.rows(cells.obs["place"].to_numpy())
    is_control_n = obs["is_control"].to_numpy(bool)
    effects = _effects(found, is_control_n, obs, path, options)
    values_ng = effects.values_ng[~is_control_n]
    known_ng = ~np.isnan(values_ng)
    known_ng &= known_ng.any(axis=1)[:, None]
    if is_control_n.all() or not known_ng.any():
        raise TooFewError(
            path, "rows", "conditions with values", "none", "Check --perturbation, --control and --values."
        )
    obs, repeats = _name_replicates(obs[~is_control_n])
    adata = anndata.AnnData(
        np.where(known_ng, values_ng, 0).astype(np.float32),
        obs=obs,
        var=pd.DataFrame(
            {"gene_id": found.gene_ids, "symbol": found.symbols}, index=pd.Index(_unique(found.genes, path))
        ),
    )
    if effects.se_ng is not None:
        adata.layers["se"] = np.where(known_ng, np.nan_to_num(effects.se_ng[~is_control_n]), 0).astype(np.float32)
    if not known_ng.all():
        if (known_ng == known_ng.any(axis=0)).all():
            adata.var["measured"] = known_ng.any(axis=0)
        else:
            adata.layers["measured"] = known_ng
    adata.uns["space"] = SPACE_OF[options.values]
    adata.uns["target_genes"] = json.dumps(cells.target_genes)
    n_controls = int(is_control_n.sum())
    counted = obs[["cell_line", "perturbation"]].astype(str).drop_duplicates()
    said = [
        f"{len(counted)} conditions in {len(obs)} rows x {len(found.genes)} genes, space {adata.uns['space']}",
        *found.said, *notes.statements, *effects.said, *repeats,
        *([f"control rows left out: {n_controls}"] if n_controls and not effects.said else []),
        *(f"rows left out, {why}: {n}" for why, n in notes.dropped.items() if n),
        *([] if known_ng.all() else [f"not measured: {1 - known_ng.mean():.1%} of the values"]),
        *(f"question: {text}" for text in notes.questions),
    ]  # fmt: skip
    return adata, said


def _effects(
    found: EffectsSource, is_control_n: np.ndarray, obs: pd.DataFrame, path: Path, options: EffectsOptions
) -> Effects:
    values_ng, name = found.values_ng, str(path)
    if options.values.startswith("rank"):
        return Effects(ranks(values_ng, options.values, name), None)
    if options.values in ("log_profile", "counts"):
        if options.values == "counts":
            total_n = None
            if options.total_counts is not None:
                total_n = column(found.obs, options.total_counts, path, "obs").to_numpy(np.float64)
            values_ng = logarithm(values_ng, total_n, name)
        lines, batches = (obs[key].astype(str).to_numpy() for key in ("cell_line", "batch"))
        return less_controls(values_ng, is_control_n, lines, batches, name)
    if options.values == "log_fold_change" and options.base == "unknown":
        do = "Pass --base 2, e or 10; where nobody knows it, --values z after dividing by the controls' spread."
        raise OptionError(path, "--base", "the base of the logarithm", "nothing", do)
    if options.clip is not None:
        inside = np.abs(np.nan_to_num(values_ng)) <= options.clip
        said = (f"cut at plus and minus {options.clip:g}: {1 - inside.mean():.2%} of the values",)
        return Effects(clipped(values_ng, options.clip), found.se_ng, said)
    return Effects(values_ng, found.se_ng)


def _name_replicates(obs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Rows with distinct names: repeats within a batch are numbered as batches of their own."""
    keys = ["cell_line", "perturbation", "batch"]
    number = obs.groupby(keys).cumcount()
    repeated = obs.duplicated(keys, keep=False)
    said = []
    if repeated.any():
        said = [f"repeats of a condition within a batch, numbered: {int(repeated.sum())} rows"]
        prefix = obs["batch"].where(obs["batch"] != NO_BATCH, "repeat")
        obs = obs.assign(batch=obs["batch"].where(~repeated, prefix + "." + (number + 1).astype(str)))
    if (obs["batch"] == NO_BATCH).all():
        obs = obs.drop(columns="batch")
    names = obs[[key for key in keys if key in obs]].agg("|".join, axis=1)
    obs = obs.set_index(pd.Index(names.to_numpy()))
    for name in ("perturbation", "target", "cell_line", "batch"):
        if name in obs:
            obs[name] = pd.Categorical(obs[name])
    return obs, said


def _unique(genes: list[str], path: Path) -> list[str]:
    index = pd.Index(genes)
    if not index.is_unique:
        found = few(index[index.duplicated()].unique().tolist())
        raise SourceError(
            path, "genes", "each gene once", f"repeated: {found}", "Pass --symbol, or join their columns."
        )
    return genes
