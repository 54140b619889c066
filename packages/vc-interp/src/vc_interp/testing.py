"""Activations with a known dictionary, for tests, benchmarks and the results page."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vc_interp.latents import Latents, write_latents


@dataclass(frozen=True, eq=False)
class Planted:
    """Rows that are sparse sums of known directions.

    Attributes:
        x_nd: [n, d] float32 activations.
        truth_kd: [k, d] unit directions.
        code_nk: [n, k] how much of each is in a row, >= 0.
    """

    x_nd: np.ndarray
    truth_kd: np.ndarray
    code_nk: np.ndarray


def plant(n: int, d: int, k: int, active: float, *, noise: float = 0.02, seed: int = 0) -> Planted:
    """Draw rows in which each of k random directions is present with probability `active / k`.

    Args:
        n: Rows.
        d: Width.
        k: True directions.
        active: Expected number in a row.
        noise: Standard deviation of what is added to every dimension.
        seed: Of everything.
    """
    rng = np.random.default_rng([seed, 4])
    truth_kd = rng.standard_normal((k, d))
    truth_kd /= np.linalg.norm(truth_kd, axis=1, keepdims=True)
    code_nk = (rng.random((n, k)) < active / k) * rng.uniform(0.5, 1.5, (n, k))
    x_nd = code_nk @ truth_kd + 0.5 * truth_kd[0] + noise * rng.standard_normal((n, d))
    return Planted(x_nd.astype(np.float32), truth_kd.astype(np.float32), code_nk.astype(np.float32))


def write_rows(path: Path, x_nd: np.ndarray, *, labels: tuple[str, ...] = (), site: str = "planted") -> Path:
    """Write rows as latents-v1 cells of one line, with perturbations where `labels` are given."""
    names = tuple(f"cell{at}" for at in range(len(x_nd)))
    dims = tuple(f"d{at}" for at in range(x_nd.shape[1]))
    lines = ("LineA",) * len(names) if labels else ()
    found = Latents(
        values_rd=np.asarray(x_nd, np.float32), rows=names, kinds=("cell",) * len(names), dims=dims, site=site,
        model="planted", lines=lines, labels=labels,
    )  # fmt: skip
    return write_latents(path, found)
