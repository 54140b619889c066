"""effects-v1: measured effects as a table, and predicted ones as such a table again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from vc_contracts.errors import raised_as
from vc_contracts.targets import targets_of

from vc_model.contracts.header import Config, Parents, make_header, write_adata
from vc_model.contracts.screen import Splits
from vc_model.errors import ContractError

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("train", "val", "test", "unused")


@dataclass(frozen=True, eq=False)
class EffectFile:
    """An effects-v1 file in memory.

    Attributes:
        path: Where it lies.
        space: `log1p_delta`, `log_fold_change`, `z` or `rank`.
        genes: [g] names of the genes that every row measured.
        obs: n rows, the contract's columns.
        value_ng: [n, g] float32.
        se_ng: [n, g] float32 standard errors, or None.
        left_out: Genes that some row did not measure.
        names: What targets and genes go by elsewhere, as `Contexts.names` keeps it.
    """

    path: Path
    space: str
    genes: tuple[str, ...]
    obs: "pd.DataFrame"
    value_ng: np.ndarray
    se_ng: np.ndarray | None
    left_out: int = 0
    names: str = ""


def is_effects(path: Path | str) -> bool:
    """Whether a file says in its header that it is effects-v1; nothing else is checked."""
    from vc_contracts.kinds import exists, header_of

    return exists(path) and header_of(Path(path)).get("name") == "effects"


def read_effects(path: Path | str) -> EffectFile:
    """Read and check a table of effects; genes that some row did not measure are left out, control rows too.

    Raises:
        ContractError: For every refusal of docs/contracts/effects-v1.md, and if no gene was measured in every row.
    """
    import vc_contracts

    path = Path(path)
    with raised_as(ContractError):
        adata = vc_contracts.read(path, "effects")
    if "is_control" in adata.obs and adata.obs["is_control"].any():
        adata = adata[~adata.obs["is_control"].to_numpy()]
    known_g = np.ones(adata.n_vars, bool)
    if "measured" in adata.var:
        known_g = adata.var["measured"].to_numpy()
    elif "measured" in adata.layers:
        known_g = np.asarray(adata.layers["measured"]).all(axis=0)
    if not known_g.any():
        found = f"none of {adata.n_vars}"
        do = "Leave rows with few genes out, or write absent values as no change."
        raise ContractError(path, "measured", "genes that every row measured", found, do)
    se_ng = np.asarray(adata.layers["se"], np.float32)[:, known_g] if "se" in adata.layers else None
    genes = tuple(adata.var_names[known_g].astype(str))
    value_ng = np.asarray(adata.X, np.float32)[:, known_g]
    space, names = str(adata.uns["space"]), targets_of(adata[:, known_g]).to_text()
    return EffectFile(path, space, genes, adata.obs, value_ng, se_ng, int((~known_g).sum()), names)


def read_effect_splits(path: Path | str, effects: EffectFile) -> Splits:
    """Read a split and check it against its table of effects.

    Raises:
        ContractError: For every refusal of docs/contracts/splits-v1.md.
    """
    import vc_contracts

    path = Path(path)
    with raised_as(ContractError):
        content = vc_contracts.read(path, "splits", screen=effects)
    parts = {(row["cell_line"], row["perturbation"]): row["part"] for row in content["conditions"]}
    return Splits(path, content["contract"], content["recipe"], content["seed"], parts, {})


def write_effects(
    path: Path | str,
    obs: "pd.DataFrame",
    genes: tuple[str, ...],
    value_ng: np.ndarray,
    *,
    space: str,
    model: str,
    role: str,
    sd_ng: np.ndarray | None = None,
    parents: Parents = None,
    config: Config = None,
    overwrite: bool = True,
) -> None:
    """Write predicted effects (zarr, or `.h5ad` by its suffix), whole or not at all.

    Args:
        path: Target.
        obs: n rows with the contract's columns.
        genes: [g] names.
        value_ng: [n, g] predicted effects in `space`.
        space: The space of the table that the model was fitted on.
        model: The model's name.
        role: `model` or `baseline`.
        sd_ng: [n, g] standard deviations of the predictions, or None.
        parents: File name -> sha256 of what the predictions were made from.
        config: How they were made.
        overwrite: Replace an older file of effects.

    Raises:
        ContractError: If the content breaks the contract.
    """
    import anndata
    import pandas as pd

    adata = anndata.AnnData(value_ng.astype(np.float32), obs=obs, var=pd.DataFrame(index=pd.Index(genes)))
    if sd_ng is not None:
        adata.layers["se"] = sd_ng.astype(np.float32)
    adata.uns["contract"] = json.dumps(make_header("effects", parents=parents, config=config))
    adata.uns["space"], adata.uns["model"], adata.uns["role"] = space, model, role
    write_adata(Path(path), adata, kind="effects", overwrite=overwrite)
