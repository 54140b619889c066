"""Features of perturbed entities: gene sets and compounds into one checked bank, torch-free.

Writes and reads the contract features-v1 (`bank`). One file per encoder: a function that takes entities and returns a
`FeatureBank`. Names below are imported when they are first used, so that importing the package stays cheap.
"""

from typing import Any

from vc_contracts.lazy import fetch

__version__ = "0.1.0"

_PLACES = {
    "ContractError": "errors",
    "FeatureBank": "bank",
    "InputError": "errors",
    "TransformerEncoder": "network.transformer",
    "VcFeaturizeError": "errors",
    "Weights": "network.rules",
    "chemmrl_encoder": "compound.networks",
    "compare_banks": "compare",
    "compound_features": "compound.morgan",
    "effect_features": "table.effects",
    "encode_bank": "run.encode",
    "esm2_encoder": "protein.esm",
    "esmc_encoder": "protein.esm",
    "geneset_features": "geneset.svd",
    "node2vec_features": "graph.embed",
    "nt2_encoder": "guide.nucleotide",
    "nt3_encoder": "guide.nucleotide",
    "read_features": "bank",
    "regulon_features": "graph.embed",
    "smiles_encoder": "compound.networks",
    "spectral_features": "graph.embed",
    "table_features": "table.precomputed",
    "write_features": "bank",
}

__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    return fetch(__name__, _PLACES, name)


def __dir__() -> list[str]:
    return list(__all__)
