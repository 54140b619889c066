"""The contract latents-v1: activations of a model at one named site, as AnnData.

Reads, writes and refuses; what the numbers mean is left to the analyses. The format is in docs/contracts/latents-v1.md.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from vc_contracts.errors import raised_as
from vc_contracts.header import make_header

from vc_interp.errors import ContractError

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True, kw_only=True)
class Latents:
    """Activations with their identities.

    Attributes:
        values_rd: float32 [r, d]; one row per thing observed, one column per latent dimension.
        rows: Unique row identities.
        kinds: `cell`, `condition`, `gene` or `action`, per row.
        dims: Unique names of the d dimensions.
        site: Where in the model, e.g. `residual/hidden`.
        model: The model's name.
        header: The contract header of the file they were read from; empty for latents that were just made.
        lines: Cell line per row, or none.
        labels: Perturbation per row (`control` for nothing done), or none.
    """

    values_rd: np.ndarray
    rows: tuple[str, ...]
    kinds: tuple[str, ...]
    dims: tuple[str, ...]
    site: str
    model: str
    header: dict[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """Values and identities of the rows of one kind."""
        chosen = np.array([k == kind for k in self.kinds], dtype=bool)
        return self.values_rd[chosen], tuple(row for row, take in zip(self.rows, chosen, strict=True) if take)


def write_latents(
    path: str | Path,
    latents: Latents,
    *,
    parents: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    overwrite: bool = True,
) -> Path:
    """Write latents as `PATH.zarr`, or as `.h5ad` where the name ends so; whole or not at all.

    The reader's own rules are checked first, so that nothing is written that would be refused later.

    Args:
        path: Target.
        latents: What to write.
        parents: File name -> sha256 of the inputs.
        config: The choices that made the latents.
        overwrite: Replace existing latents.

    Raises:
        ContractError: If they break latents-v1.
    """
    import pandas as pd
    import vc_contracts
    from anndata import AnnData

    path = Path(path)
    values_rd = np.asarray(latents.values_rd)
    shape = (len(latents.rows), len(latents.dims))
    if values_rd.shape != shape or len(latents.kinds) != shape[0]:
        found = f"X of shape {values_rd.shape} and {len(latents.kinds)} kinds"
        expected = f"{shape[0]} rows x {shape[1]} dimensions"
        raise ContractError(path, "latents", expected, found, "Make the lengths agree.")
    # Object strings are written as plain string arrays, which every anndata release reads.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # repeated names are refused below, with the names in the text
        adata = AnnData(
            X=values_rd,
            obs=pd.DataFrame(
                {"kind": pd.Categorical(latents.kinds)}
                | ({"cell_line": pd.Categorical(latents.lines)} if latents.lines else {})
                | ({"perturbation": pd.Categorical(latents.labels)} if latents.labels else {}),
                index=pd.Index(latents.rows, dtype=object),
            ),
            var=pd.DataFrame(index=pd.Index(latents.dims, dtype=object)),
            uns={
                "contract": json.dumps(
                    make_header("latents", writer="vc-interp", parents=parents, config=config), sort_keys=True
                ),
                "site": latents.site,
                "model": latents.model,
            },
        )
    with raised_as(ContractError):
        vc_contracts.write(path, adata, "latents", overwrite=overwrite)
    return path


def read_latents(path: str | Path) -> Latents:
    """Read latents and check every rule of latents-v1.

    Args:
        path: A zarr folder, or the same AnnData as `.h5ad`.

    Returns:
        The latents, with the file's header in `header`.

    Raises:
        ContractError: If the file is absent, damaged or breaks the contract.
    """
    import vc_contracts

    with raised_as(ContractError):
        return _latents_of(vc_contracts.read(path, "latents"))


def _latents_of(adata: "AnnData") -> Latents:
    """The latents in a checked AnnData."""
    return Latents(
        values_rd=cast("np.ndarray", adata.X),
        rows=tuple(adata.obs_names.astype(str)),
        kinds=tuple(adata.obs["kind"].astype(str)),
        dims=tuple(adata.var_names.astype(str)),
        site=adata.uns["site"],
        model=adata.uns["model"],
        header=json.loads(adata.uns["contract"]),
        lines=tuple(adata.obs["cell_line"].astype(str)) if "cell_line" in adata.obs else (),
        labels=tuple(adata.obs["perturbation"].astype(str)) if "perturbation" in adata.obs else (),
    )
