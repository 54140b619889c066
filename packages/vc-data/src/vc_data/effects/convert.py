"""`vc-data convert-effects`: a table of effects as effects-v1, one row a condition of one batch or replicate."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from vc_data.contract import check_target, make_header, sha256_tree
from vc_data.effects.options import EffectsOptions
from vc_data.effects.source import EffectsSource, column, read_source
from vc_data.effects.values import SPACE_OF, Effects, clipped, less_controls, logarithm, ranks
from vc_data.errors import ColumnError, ControlError, OptionError, SourceError, TooFewError, few
from vc_data.text.labels import read_labels
from vc_data.text.modes import KNOCKOUT, UNKNOWN, is_chemical, parse_mode

if TYPE_CHECKING:
    import anndata

NO_BATCH = "unknown"


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
    config = {"values": options.values, "base": options.base, "control": list(options.control), "clip": options.clip}
    header = make_header("effects", parents={source.name: sha256_tree(source)}, config=config)
    adata.uns["contract"] = json.dumps(header, sort_keys=True)
    with raised_as(ContractError):
        vc_contracts.write(output, adata, "effects", overwrite=options.overwrite, inputs=[source])
    return said


def make_effects(found: EffectsSource, path: Path, options: EffectsOptions) -> "tuple[anndata.AnnData, list[str]]":
    """The effects-v1 table of a source, without its header, and what was done."""
    import anndata

    obs, is_control_n, chemical, said = _read_rows(found.obs, path, options, found.genes)
    effects = _effects(found, is_control_n, obs, path, options)
    kept_n = ~is_control_n & (obs["target"] != "").to_numpy()
    values_ng = effects.values_ng[kept_n]
    known_ng = ~np.isnan(values_ng)
    known_ng &= known_ng.any(axis=1)[:, None]
    if not kept_n.any() or not known_ng.any():
        raise TooFewError(
            path, "rows", "conditions with values", "none", "Check --perturbation, --control and --values."
        )
    obs, repeats = _name_replicates(obs[kept_n])
    adata = anndata.AnnData(
        np.where(known_ng, values_ng, 0).astype(np.float32),
        obs=obs,
        var=pd.DataFrame({"gene_id": found.gene_ids, "symbol": ""}, index=pd.Index(_unique(found.genes, path))),
    )
    if effects.se_ng is not None:
        adata.layers["se"] = np.where(known_ng, np.nan_to_num(effects.se_ng[kept_n]), 0).astype(np.float32)
    if not known_ng.all():
        if (known_ng == known_ng.any(axis=0)).all():
            adata.var["measured"] = known_ng.any(axis=0)
        else:
            adata.layers["measured"] = known_ng
    adata.uns["space"] = SPACE_OF[options.values]
    if chemical:
        adata.uns["target_genes"] = json.dumps({"kind": "compound"})
    n_controls = int(is_control_n.sum())
    counted = obs[["cell_line", "perturbation"]].astype(str).drop_duplicates()
    said = [
        f"{len(counted)} conditions in {len(obs)} rows x {len(found.genes)} genes, space {adata.uns['space']}",
        *said, *effects.said, *repeats,
        *([f"control rows left out: {n_controls}"] if n_controls and not effects.said else []),
        *([] if known_ng.all() else [f"not measured: {1 - known_ng.mean():.1%} of the values"]),
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


def _read_rows(
    raw: pd.DataFrame, path: Path, options: EffectsOptions, genes: list[str]
) -> tuple[pd.DataFrame, np.ndarray, bool, list[str]]:
    """Rows as effects-v1 names them, which are controls, whether targets are compounds, and what was decided."""
    label = column(raw, options.perturbation, path, "rows").astype(str)
    second = [name for name in label.unique() if name.strip().casefold() == "control" and name not in options.control]
    if second:
        raise ControlError(
            path, options.perturbation, "no other label of controls than --control", few(second), "Pass both."
        )
    mode, chemical = _modes(raw, path, options)
    labels = read_labels(
        label.unique(), [name for name in options.control if name in set(label)], known=frozenset(genes),
        separator=options.combo_separator, guides="keep", compounds=chemical, where=path,
    )  # fmt: skip
    target = label.map(labels.target_of)
    is_control_n = (target == "control").to_numpy()
    mode[is_control_n] = UNKNOWN
    dose, perturbation, said = np.full(len(raw), np.nan, np.float32), target, list(labels.statements)
    if options.dose is not None:
        dose = pd.to_numeric(column(raw, options.dose, path, "rows"), errors="coerce").to_numpy(np.float32)
        dose[is_control_n] = np.nan
        several = pd.Series(dose).groupby(target.to_numpy()).nunique().gt(1).any()
        if several:
            texts = pd.Series(dose, index=target.index).map("{:g}".format)
            perturbation = target.where(~np.isfinite(dose) | is_control_n, target + "@" + texts)
            said.append("labels carry the dose, NAME@DOSE (several doses of one target)")
    n_cells = np.full(len(raw), np.nan, np.float32)
    if options.n_cells is not None:
        n_cells = column(raw, options.n_cells, path, "rows").to_numpy(np.float32)
    batch = column(raw, options.batch, path, "rows").astype(str).to_numpy() if options.batch else NO_BATCH
    obs = pd.DataFrame(
        {"perturbation": perturbation.to_numpy(), "target": target.to_numpy(), "cell_line": _lines(raw, path, options),
         "batch": batch, "is_control": False, "mode": mode, "dose": dose, "n_cells": n_cells}
    )  # fmt: skip
    return obs, is_control_n, chemical, said


def _modes(raw: pd.DataFrame, path: Path, options: EffectsOptions) -> tuple[np.ndarray, bool]:
    if options.mode_name is None and options.mode is None:
        return np.full(len(raw), UNKNOWN, np.int8), False
    if options.mode_name is not None:
        texts = pd.Series([options.mode_name] * len(raw))
    else:
        texts = column(raw, str(options.mode), path, "rows").astype(str)
    known = {text: parse_mode(text) for text in texts.unique()}
    lost = [
        text
        for text, mode in known.items()
        if mode == UNKNOWN and not is_chemical(text) and text.casefold() != "unknown"
    ]
    if lost and options.mode_name is not None:
        do = "Pass one of crispri, crispra, overexpression, knockout, inhibitor, agonist, degrader, binder, drug, unknown."
        raise ColumnError(path, "--mode-name", "a known type of perturbation", few(lost), do)
    chemical = any(is_chemical(text) or mode in range(KNOCKOUT + 1, UNKNOWN) for text, mode in known.items())
    return texts.map(known).to_numpy(np.int8).copy(), chemical


def _lines(raw: pd.DataFrame, path: Path, options: EffectsOptions) -> np.ndarray | str:
    if options.cell_line_name is not None:
        return options.cell_line_name
    if options.cell_line is None and "cell_line" not in raw:
        raise ColumnError(path, "rows", "the cell line", "none", "Pass --cell-line COLUMN or --cell-line-name NAME.")
    return column(raw, options.cell_line or "cell_line", path, "rows").astype(str).to_numpy()


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
