"""Do drawn cells look like real ones? The distribution head on the project's own simulator.

    uv run python experiments/simulator/drawn_cells.py tiny

The mean profile of one half of a condition's cells is given to `vc_model.emit.cells.draw_cells`; what it draws from control
cells is compared with the other half by energy distance on log1p CP10k, beside controls moved by the mean effect, Gaussian
cells with the controls' variances, the controls themselves, and the first half (the best that can be).
"""

import argparse
import tempfile
from pathlib import Path

import anndata
import numpy as np
from vc_data.simulate import PRESETS, write_simulation
from vc_model.emit.cells import draw_cells, make_source

MIN_CELLS = 40
KINDS = ("drawn", "moved controls", "Gaussian", "controls", "the other half")


def log(count_ng: np.ndarray, total_n: np.ndarray) -> np.ndarray:
    """log1p CP10k."""
    return np.log1p(1e4 * count_ng / total_n[:, None])


def energy(x: np.ndarray, y: np.ndarray) -> float:
    """Energy distance, without the zero distances of cells to themselves."""

    def far(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0))

    own = sum(far(z, z).sum() / (len(z) * (len(z) - 1)) for z in (x, y)) / 2
    return float(far(x, y).mean() - own)


def main() -> None:
    """Print mean distances, and how zeros, variances and depth compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=list(PRESETS))
    parser.add_argument("--conditions", type=int, default=20, help="at most so many, those of the largest effects")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_simulation(PRESETS[args.preset], 0, Path(folder) / "simulated")
        adata = anndata.read_h5ad(Path(folder) / "simulated" / "screen.h5ad")
    count_ng = np.asarray(adata.X.todense() if hasattr(adata.X, "todense") else adata.X).astype(np.int64)
    total_n = adata.obs["total_counts"].to_numpy(np.float64)
    control_n = adata.obs["is_control"].to_numpy(bool)
    key_n = (adata.obs["cell_line"].astype(str) + "|" + adata.obs["perturbation"].astype(str)).to_numpy()
    rng, rows = np.random.default_rng(0), []
    for key in np.unique(key_n[~control_n]):
        at, line = np.flatnonzero(key_n == key), key.split("|")[0]
        if len(at) < MIN_CELLS:
            continue
        controls = np.flatnonzero(control_n & (adata.obs["cell_line"].astype(str) == line).to_numpy())
        moved_g = log(count_ng[at], total_n[at]).mean(0) - log(count_ng[controls], total_n[controls]).mean(0)
        rows.append((float((moved_g**2).mean()), at, controls))
    rows.sort(key=lambda row: -row[0])
    found = []
    for _, at, controls in rows[: args.conditions]:
        at = rng.permutation(at)
        known, held = at[: len(at) // 2], at[len(at) // 2 :]
        mean_g, real = log(count_ng[known], total_n[known]).mean(0), log(count_ng[held], total_n[held])
        source = make_source(count_ng[controls], total_n[controls])
        drawn, depth = draw_cells(source, mean_g, len(held), np.random.default_rng(1))
        unperturbed = log(count_ng[controls], total_n[controls])
        some = unperturbed[rng.integers(len(controls), size=len(held))]
        noise = unperturbed.std(0) * rng.standard_normal(some.shape)
        cells = {
            "drawn": log(drawn, depth),
            "moved controls": np.maximum(some + mean_g - unperturbed.mean(0), 0),
            "Gaussian": np.maximum(mean_g + noise, 0),
            "controls": some,
            "the other half": log(count_ng[known], total_n[known]),
        }
        shown = real.mean(0) > 0.1
        found.append(
            [energy(cells[kind], real) for kind in KINDS]
            + [
                np.median(cells["drawn"].var(0)[shown] / real.var(0)[shown]),
                np.abs((drawn == 0).mean(0) - (count_ng[held] == 0).mean(0)).mean(),
                np.median(depth) / np.median(total_n[held]),
            ]
        )
    mean = np.mean(found, axis=0)
    print(f"{len(found)} conditions of simulated:{args.preset}, {count_ng.shape[1]} genes")
    for kind, value in zip(KINDS, mean, strict=False):
        print(f"energy distance to held cells, {kind}: {value:.4f}")
    print(f"variance over real: {mean[5]:.3f}; difference of the share of zeros: {mean[6]:.3f}; depth: {mean[7]:.3f}")


if __name__ == "__main__":
    main()
