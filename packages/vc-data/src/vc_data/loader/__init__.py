"""Training batches from screens: cell sets with matched controls, plain cells, or profiles.

Reads the contracts screen-v1 and splits-v1. The front door is `Loader.open`. `pack` makes and `packed` opens a compact copy
of a screen; `eligible` decides what may be trained on, `sample` which cells make which batch; `pipeline` brings them, with
what `memory` holds and the passes of `kernel`. `naive` brings the same cells row by row: the fast path is tested against it. Names are imported on first use, so that importing stays fast.
"""

from typing import Any

from vc_contracts.lazy import fetch

_HOME = {
    "CellBatch": "batch",
    "Condition": "eligible",
    "Loader": "pipeline",
    "LoaderError": "eligible",
    "LoaderSteps": "workers",
    "NaiveLoader": "naive",
    "ProfileBatch": "batch",
    "SetBatch": "batch",
    "Weights": "sample",
    "pack_screen": "pack",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    return fetch(__name__, _HOME, name)
