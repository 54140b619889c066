"""What a perturbation model has learnt: latent tables and what their dimensions mean.

Reads and writes the contract latents-v1 (`latents`). Names below are imported when they are first used, so that importing
the package stays cheap.
"""

from typing import Any

from vc_contracts.lazy import fetch

__version__ = "0.1.0"

_PLACES = {
    "Latents": "latents",
    "SaeSettings": "sae.settings",
    "compare_attention": "attention.run",
    "describe": "features.run",
    "measure": "sae.measure",
    "open_latents": "files.stored",
    "read_dictionary": "sae.dictionary",
    "read_latents": "latents",
    "stability": "sae.stability",
    "write_findings": "features.run",
}

__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    return fetch(__name__, _PLACES, name)


def __dir__() -> list[str]:
    return list(__all__)
