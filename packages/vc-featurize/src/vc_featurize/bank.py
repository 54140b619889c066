"""The contract features-v1: one float32 vector per perturbed entity, as AnnData.

Every encoder returns a `FeatureBank`; this file alone turns it into a file and back, and decides what is refused. The
format is in docs/contracts/features-v1.md.
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

from vc_featurize.errors import ContractError

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True, kw_only=True)
class FeatureBank:
    """Vectors of entities with their provenance.

    Attributes:
        vectors_ef: float32 [e, f]; one row per entity, zeros where `missing`.
        entities: Unique names, as in the targets of a screen: gene symbol, guide sequence or compound id.
        kinds: `gene`, `guide`, `protein` or `compound`, per entity.
        sources: Id of the record each vector was made from; empty where nothing was found.
        missing: bool [e]; true where nothing was found for the entity.
        dims: Unique names of the f dimensions.
        encoder: `id`, `revision`, `pooling`, `dtype`, `dim`, `licence`, and anything else the encoder wants to state.
        notes: Optional remark per entity (why it is missing, what was changed); empty tuple for none.
        header: The contract header of the file the bank was read from; empty for a bank that was just made.
    """

    vectors_ef: np.ndarray
    entities: tuple[str, ...]
    kinds: tuple[str, ...]
    sources: tuple[str, ...]
    missing: np.ndarray
    dims: tuple[str, ...]
    encoder: dict[str, Any]
    notes: tuple[str, ...] = ()
    header: dict[str, Any] = field(default_factory=dict)


def write_features(
    path: str | Path,
    bank: FeatureBank,
    *,
    parents: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    overwrite: bool = True,
) -> Path:
    """Write a bank as `PATH.zarr`, or as `.h5ad` where the name ends so; whole or not at all.

    The bank is checked by the reader's own rules first, so that nothing is written that would be refused later.

    Args:
        path: Target.
        bank: What to write.
        parents: File name -> sha256 of the inputs.
        config: The choices that made the bank.
        overwrite: Replace an existing bank.

    Raises:
        ContractError: If the bank breaks features-v1.
    """
    import pandas as pd
    import vc_contracts
    from anndata import AnnData

    path = Path(path)
    vectors_ef = np.asarray(bank.vectors_ef)
    n = len(bank.entities)
    lengths = {"kinds": len(bank.kinds), "sources": len(bank.sources), "missing": len(bank.missing)}
    if bank.notes:
        lengths["notes"] = len(bank.notes)
    uneven = {name: length for name, length in lengths.items() if length != n}
    if uneven or vectors_ef.shape != (n, len(bank.dims)):
        found = f"X of shape {vectors_ef.shape} and {uneven or 'nothing else uneven'}"
        expected = f"{n} entities x {len(bank.dims)} dimensions"
        raise ContractError(path, "bank", expected, found, "Make the lengths agree.")
    obs = {
        "kind": pd.Categorical(bank.kinds),
        # pyrefly: ignore[no-matching-overload] the stubs of pandas lack dtype=object
        "source": pd.array(bank.sources, dtype=object),
        "missing": np.asarray(bank.missing),
    }
    if bank.notes:
        # pyrefly: ignore[no-matching-overload] the stubs of pandas lack dtype=object
        obs["note"] = pd.array(bank.notes, dtype=object)
    # Object strings are written as plain string arrays, which every anndata release reads.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # repeated names are refused below, with the names in the text
        adata = AnnData(
            X=vectors_ef,
            obs=pd.DataFrame(obs, index=pd.Index(bank.entities, dtype=object)),
            var=pd.DataFrame(index=pd.Index(bank.dims, dtype=object)),
            uns={
                "contract": json.dumps(
                    make_header("features", writer="vc-featurize", parents=parents, config=config), sort_keys=True
                ),
                "encoder": json.dumps(bank.encoder, sort_keys=True),
            },
        )
    with raised_as(ContractError):
        vc_contracts.write(path, adata, "features", overwrite=overwrite)
    return path


def read_features(path: str | Path) -> FeatureBank:
    """Read a bank and check every rule of features-v1.

    Args:
        path: A zarr folder, or the same AnnData as `.h5ad`.

    Returns:
        The bank, with the file's header in `header`.

    Raises:
        ContractError: If the file is absent, damaged or breaks the contract.
    """
    import vc_contracts

    with raised_as(ContractError):
        return _bank_of(vc_contracts.read(path, "features"))


def _bank_of(adata: "AnnData") -> FeatureBank:
    """The bank in a checked AnnData."""
    return FeatureBank(
        vectors_ef=cast("np.ndarray", adata.X),
        entities=tuple(adata.obs_names.astype(str)),
        kinds=tuple(adata.obs["kind"].astype(str)),
        sources=tuple(adata.obs["source"].astype(str)),
        missing=adata.obs["missing"].to_numpy(),
        dims=tuple(adata.var_names.astype(str)),
        encoder=json.loads(adata.uns["encoder"]),
        notes=tuple(adata.obs["note"].astype(str)) if "note" in adata.obs else (),
        header=json.loads(adata.uns["contract"]),
    )
