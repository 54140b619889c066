"""features-v1: one vector per perturbed entity, made outside this package."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from vc_contracts.errors import raised_as

from vc_model.errors import ContractError


@dataclass(frozen=True)
class FeatureBank:
    """Vectors by entity.

    Attributes:
        name: The encoder's id.
        entities: [e] entity names (gene symbols, guides or compounds), as targets are named in the screen.
        vectors_ef: [e, f] float32; zeros where missing.
        missing_e: [e] bool.
        kind: What the entities are: `gene`, `guide`, `protein` or `compound`; the kind of most.
        recipe: How the vectors were made: `encoder` and the header's `config`, as JSON with sorted keys.
    """

    name: str
    entities: tuple[str, ...]
    vectors_ef: np.ndarray
    missing_e: np.ndarray
    kind: str = "gene"
    recipe: str = ""


def read_features(path: Path | str) -> FeatureBank:
    """Read and check a feature bank.

    Raises:
        ContractError: For every refusal of docs/contracts/features-v1.md.
    """
    import vc_contracts

    with raised_as(ContractError):
        adata = vc_contracts.read(path, "features")
    encoder = json.loads(adata.uns["encoder"])
    kind = str(adata.obs["kind"].astype(str).mode().iloc[0]) if len(adata.obs) else "gene"
    entities = tuple(adata.obs_names.astype(str))
    header = json.loads(adata.uns["contract"])
    recipe = json.dumps({"encoder": encoder, "config": header.get("config") or {}}, sort_keys=True)
    return FeatureBank(str(encoder["id"]), entities, adata.X, adata.obs["missing"].to_numpy(), kind, recipe)
