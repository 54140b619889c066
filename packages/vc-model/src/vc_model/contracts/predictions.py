"""predictions-v1: predicted profiles beside the unperturbed profile they start from."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from vc_contracts.errors import raised_as

from vc_model.contracts.header import Config, Parents, make_header, write_adata
from vc_model.errors import ContractError


@dataclass(frozen=True)
class PredictionFile:
    """What a predictions-v1 file holds.

    Attributes:
        model: The model's name.
        space: `log1p_cp10k` or `counts`.
        unit: `profile` or `cell`.
        genes: [g] gene names.
        perturbation: [n] labels, `control` for controls.
        cell_line: [n] cell lines.
        is_control: [n] bool.
        mean_ng: [n, g] float32 in `space`.
        sd_ng: [n, g] float32 or None.
        sd_epistemic_ng: [n, g] float32, the part of `sd_ng` that more training data would remove, or None.
        levels: [l] rising levels of central intervals; empty: Gaussian ones.
        width_nl: [n, l] float32 half-widths of these intervals in standard deviations, inf where nothing can be promised.
        supported_n: [n] bool, whether training speaks about the row, or None.
        basis_n: [n] what its intervals were calibrated on, or None.
        role: `model`, `baseline` or `reference`, so that nobody has to guess it from the name; None where not stated.
    """

    model: str
    space: str
    unit: str
    genes: tuple[str, ...]
    perturbation: np.ndarray
    cell_line: np.ndarray
    is_control: np.ndarray
    mean_ng: np.ndarray
    sd_ng: np.ndarray | None
    sd_epistemic_ng: np.ndarray | None = None
    levels: tuple[float, ...] = ()
    width_nl: np.ndarray | None = None
    supported_n: np.ndarray | None = None
    basis_n: np.ndarray | None = None
    role: str | None = None


def write_predictions(
    path: Path | str, file: PredictionFile, *, parents: Parents = None, config: Config = None
) -> None:
    """Write a predictions-v1 file (zarr, or `.h5ad` by its suffix), whole or not at all.

    Args:
        path: Target; an older file there is replaced.
        file: What to write.
        parents: File name -> sha256 of what the predictions were made from.
        config: How they were made.

    Raises:
        ContractError: If the content breaks the contract.
    """
    import anndata
    import pandas as pd

    path = Path(path)
    names = [f"{line}|{label}" for line, label in zip(file.cell_line, file.perturbation, strict=True)]
    if file.unit == "cell":
        names = [f"{name}|{number}" for number, name in enumerate(names)]
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical(file.perturbation.astype(str)),
            "cell_line": pd.Categorical(file.cell_line.astype(str)),
            "is_control": file.is_control.astype(bool),
        },
        index=pd.Index(names),
    )
    adata = anndata.AnnData(X=file.mean_ng.astype(np.float32), obs=obs, var=pd.DataFrame(index=pd.Index(file.genes)))
    if file.sd_ng is not None:
        adata.layers["sd"] = file.sd_ng.astype(np.float32)
    if file.sd_epistemic_ng is not None:
        adata.layers["sd_epistemic"] = file.sd_epistemic_ng.astype(np.float32)
    if file.width_nl is not None:
        adata.obsm["interval_width"] = file.width_nl.astype(np.float32)
        adata.uns["interval_levels"] = np.array(file.levels, dtype=np.float64)
    if file.supported_n is not None:
        adata.obs["supported"] = file.supported_n
    if file.basis_n is not None:
        adata.obs["interval_basis"] = pd.Categorical(file.basis_n.astype(str))
    adata.uns["contract"] = json.dumps(make_header("predictions", parents=parents, config=config))
    adata.uns["space"], adata.uns["unit"], adata.uns["model"] = file.space, file.unit, file.model
    if file.role is not None:
        adata.uns["role"] = file.role
    write_adata(path, adata, kind="predictions")


def read_predictions(path: Path | str) -> PredictionFile:
    """Read and check a predictions-v1 file.

    Raises:
        ContractError: For every refusal of docs/contracts/predictions-v1.md.
    """
    import vc_contracts

    with raised_as(ContractError):
        adata = vc_contracts.read(path, "predictions")
    return PredictionFile(
        model=adata.uns["model"],
        space=adata.uns["space"],
        unit=adata.uns["unit"],
        genes=tuple(adata.var_names.astype(str)),
        perturbation=adata.obs["perturbation"].astype(str).to_numpy(),
        cell_line=adata.obs["cell_line"].astype(str).to_numpy(),
        is_control=adata.obs["is_control"].to_numpy(),
        mean_ng=_dense(adata.X),
        sd_ng=_dense(adata.layers["sd"]) if "sd" in adata.layers else None,
        sd_epistemic_ng=_dense(adata.layers["sd_epistemic"]) if "sd_epistemic" in adata.layers else None,
        levels=tuple(np.asarray(adata.uns.get("interval_levels", []), dtype=np.float64).ravel().tolist()),
        width_nl=_dense(adata.obsm["interval_width"]) if "interval_width" in adata.obsm else None,
        supported_n=adata.obs["supported"].to_numpy() if "supported" in adata.obs else None,
        basis_n=adata.obs["interval_basis"].astype(str).to_numpy() if "interval_basis" in adata.obs else None,
        role=str(adata.uns["role"]) if "role" in adata.uns else None,
    )


def _dense(x) -> np.ndarray:
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x, dtype=np.float32)
