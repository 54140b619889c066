"""How good a dictionary is: reconstruction, sparsity, dead features, and what the model loses when it is put in place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vc_interp.errors import InputError
from vc_interp.files.stored import StoredLatents
from vc_interp.sae.dictionary import Dictionary

Decode = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""([n, d] activations, [n] rows) -> [n, g] expression: the model from the site on."""


@dataclass(frozen=True)
class Measures:
    """Of a dictionary over all rows of a file."""

    explained: float
    """1 - squared error / variance around the mean; 1 is perfect, 0 the mean."""
    l0: float
    """Active features of a row, on average."""
    dead: int
    """Features that no row activates."""
    rare: int
    """Features active in fewer than one row in a thousand, dead ones included."""
    dense: int
    """Features active in more than half of the rows."""


def measure(stored: StoredLatents, dictionary: Dictionary) -> Measures:
    """Measure in one pass over the file.

    Raises:
        InputError: If the dictionary is of other activations.
    """
    check_same(stored, dictionary)
    error, active, fired_f = 0.0, 0, np.zeros(dictionary.n_features, np.int64)
    for _, x_nd in stored.blocks():
        f_nf = dictionary.encode(x_nd)
        error += float(np.square(dictionary.decode(f_nf) - x_nd, dtype=np.float64).sum())
        on_nf = f_nf > 0
        active, fired_f = active + int(on_nf.sum()), fired_f + on_nf.sum(axis=0)
    n = len(stored)
    total = float(stored.var_d.sum()) * n
    return Measures(
        explained=1 - error / max(total, 1e-30),
        l0=active / n,
        dead=int((fired_f == 0).sum()),
        rare=int((fired_f < 1e-3 * n).sum()),
        dense=int((fired_f > 0.5 * n).sum()),
    )


def check_same(stored: StoredLatents, dictionary: Dictionary) -> None:
    """Refuse a dictionary of other activations: of another width, or, as far as its record says, model, site or checkpoint.

    Raises:
        InputError: If they do not belong together.
    """
    if stored.width != dictionary.width:
        raise InputError(
            f"{stored.path}: expected activations of the {dictionary.width} dimensions of the dictionary, found "
            f"{stored.width}. Use the latents that it was trained on."
        )
    check_origin(stored, dictionary.record, "the dictionary")


def check_origin(stored: StoredLatents, record: Mapping[str, Any], what: str) -> None:
    """Refuse activations that are not of the model, site and checkpoint that a record states.

    Args:
        stored: Activations.
        record: `model`, `site`, `checkpoint`; what is missing or empty on either side is not compared.
        what: Whose record it is.

    Raises:
        InputError: If one of them differs.
    """
    own = {"model": stored.model, "site": stored.site, "checkpoint": stored.checkpoint}
    for name, found in own.items():
        expected = record.get(name)
        if expected and found and expected != found:
            raise InputError(
                f"{stored.path}: expected activations of the {name} that {what} is of ({str(expected)[:40]!r}), found "
                f"{found[:40]!r}. Use files of one and the same model."
            )


def loss_recovered(
    stored: StoredLatents, dictionary: Dictionary, decode: Decode, *, n_rows: int = 512, seed: int = 0
) -> float:
    """Share of what the model says beyond its mean activation that survives when the reconstruction is put in place.

    1 - E|decode(x') - decode(x)|^2 / E|decode(mean) - decode(x)|^2: 1 loses nothing, 0 is as bad as the mean activation.

    Args:
        stored: Activations.
        dictionary: Gives x'.
        decode: The model from the site on.
        n_rows: Rows that are drawn.
        seed: Draws them.
    """
    check_same(stored, dictionary)
    rows = np.sort(np.random.default_rng([seed, 3]).permutation(len(stored))[:n_rows])
    x_nd = stored.take(rows)
    said_ng = decode(x_nd, rows)
    again_ng = decode(dictionary.decode(dictionary.encode(x_nd)).astype(np.float32), rows)
    blank_ng = decode(np.broadcast_to(stored.mean_d.astype(np.float32), x_nd.shape), rows)
    lost = float(np.square(again_ng - said_ng, dtype=np.float64).sum())
    whole = float(np.square(blank_ng - said_ng, dtype=np.float64).sum())
    return 1 - lost / max(whole, 1e-30)
