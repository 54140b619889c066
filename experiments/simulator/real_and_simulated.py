"""Statistics of real screens and of simulated ones, side by side.

    python experiments/simulator/real_and_simulated.py --data ../shared/data/single_cell
    python experiments/simulator/real_and_simulated.py --presets tiny small vcc --vcc-cells 100

Every number is computed by the same code from counts, labels and library sizes. A real file that holds a panel of
selected genes is compared with the simulated genes that a selection of the same size would have picked: the most variable
ones (`small-500` is the preset `small` on its 500 most variable genes). Library sizes are those over all genes where the
file has them.

Definitions. Profiles are means of log1p(CP10k); delta is perturbed minus control of one cell line. `noise` is the
expected squared norm of delta under no effect, from the variances of the cells. `norm` is the square root of
|delta|^2 - noise, 0 where negative. A perturbation is `silent` if |delta|^2 does not exceed the 95 % quantile of the
same statistic for random groups of as many control cells. `split-half r` correlates the deltas of two disjoint halves of
the cells and of the controls, Spearman-Brown corrected to the full size. `common` is the mean inner product of two
different perturbations' deltas over the mean |delta|^2, both without their noise: the share of the squared effects that one
common vector explains. `cos mean` is the median cosine of a detected perturbation's delta to the mean of the others.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import anndata
import numpy as np
from vc_data.simulate import PRESETS, simulate

MIN_CELLS = 25


@dataclasses.dataclass
class Screen:
    """One data set as arrays."""

    name: str
    counts: np.ndarray  # [n, g]
    total: np.ndarray  # [n] library size over all genes
    perturbation: np.ndarray  # [n] label, 'control' for controls
    line: np.ndarray  # [n]


def read_real(path: Path) -> Screen:
    """A real screen with its counts, labels and library sizes."""
    adata = anndata.read_h5ad(path)
    counts = adata.X.toarray().astype(np.float32)
    known = "total_counts_all_genes" in adata.obs
    total = adata.obs["total_counts_all_genes"].to_numpy(float) if known else counts.sum(axis=1)
    line = adata.obs["cell_line"].astype(str).to_numpy()
    if "stimulation" in adata.obs:
        line = line + "/" + adata.obs["stimulation"].astype(str).to_numpy()
    kept = total > 0
    perturbation = adata.obs["perturbation"].astype(str).to_numpy()
    return Screen(path.stem.split("_")[0], counts[kept], total[kept], perturbation[kept], line[kept])


def from_simulation(name: str, adata) -> Screen:
    """The same of a simulated screen."""
    counts = adata.X.toarray()
    obs = adata.obs
    return Screen(name, counts, counts.sum(axis=1), obs["perturbation"].to_numpy(str), obs["cell_line"].to_numpy(str))


def take_panel(screen: Screen, size: int) -> Screen:
    """The most variable genes by variance of log1p(CP10k) over all cells."""
    genes = np.sort(np.argsort(-log_cp10k(screen).var(axis=0))[:size])
    return dataclasses.replace(screen, name=f"{screen.name}-{size}", counts=screen.counts[:, genes])


def log_cp10k(screen: Screen) -> np.ndarray:
    """log1p of counts per 10,000."""
    return np.log1p(screen.counts * (1e4 / screen.total[:, None]).astype(np.float32))


def noise_statistics(screen: Screen) -> dict:
    """Depth, zeros, and variance against mean within the control cells of each line."""
    mean, dispersion, variance, zero = [], [], [], []
    for line in np.unique(screen.line):
        rows = (screen.line == line) & (screen.perturbation == "control")
        if rows.sum() < 50:
            continue
        counts, total = screen.counts[rows].astype(float), screen.total[rows]
        size = total / np.median(total)
        scaled = counts / size[:, None]
        m, v = scaled.mean(axis=0), scaled.var(axis=0, ddof=1)
        mean.append(m)
        variance.append(v)
        # Poisson counting contributes mean * E[1 / size] to the variance of scaled counts.
        dispersion.append((v - m * np.mean(1 / size)) / np.maximum(m, 1e-12) ** 2)
        zero.append((counts == 0).mean(axis=0))
    mean, variance, dispersion, zero = map(np.concatenate, (mean, variance, dispersion, zero))
    depth_sd = np.median([np.log(screen.total[screen.line == x]).std() for x in np.unique(screen.line)])
    seen = mean > 0.1
    one = (mean > 0.5) & (mean < 2.0)
    slope = np.polyfit(np.log(mean[seen]), np.log(variance[seen]), 1)[0] if seen.sum() > 5 else np.nan
    return {
        "cells": len(screen.total),
        "genes": screen.counts.shape[1],
        "depth": np.median(screen.total),
        "depth log sd": depth_sd,
        "zeros": (screen.counts == 0).mean(),
        "zeros at mean 0.5-2": zero[one].mean() if one.any() else np.nan,
        "dispersion q25": np.quantile(dispersion[seen], 0.25) if seen.any() else np.nan,
        "dispersion q50": np.quantile(dispersion[seen], 0.5) if seen.any() else np.nan,
        "dispersion q75": np.quantile(dispersion[seen], 0.75) if seen.any() else np.nan,
        "var-mean slope": slope,
    }


def effect_statistics(screen: Screen, rng: np.random.Generator, *, max_cells: int | None = None) -> dict:
    """Sizes, detectability, reproducibility and common part of the effects."""
    log = log_cp10k(screen)
    rows, commons, cosines = [], [], []
    for line in np.unique(screen.line):
        here = screen.line == line
        control = np.flatnonzero(here & (screen.perturbation == "control"))
        if len(control) < 50:
            continue
        base, base_noise = log[control].mean(axis=0), log[control].var(axis=0, ddof=1) / len(control)
        deltas, noises, detected = [], [], []
        for label in np.unique(screen.perturbation[here & (screen.perturbation != "control")]):
            cells = np.flatnonzero(here & (screen.perturbation == label))
            if len(cells) < MIN_CELLS:
                continue
            cells = rng.permutation(cells)[:max_cells]
            delta = log[cells].mean(axis=0) - base
            own_noise = log[cells].var(axis=0, ddof=1) / len(cells)
            noise = float((own_noise + base_noise).sum())
            null = [_null_energy(log, control, len(cells), rng) for _ in range(20)]
            # Normal tail of the null statistic: 20 draws give its mean and spread, not its 95 % quantile.
            limit = np.mean(null) + 1.645 * np.std(null, ddof=1)
            half = _split_half(log, cells, control, rng)
            energy = float(delta @ delta)
            rows.append((len(cells), energy - noise, noise, energy > limit, half))
            deltas.append(delta)
            noises.append(noise)
            detected.append(energy > limit)
        if len(deltas) >= 5:
            d = np.array(deltas)
            gram = d @ d.T
            off = (gram.sum() - np.trace(gram)) / (len(d) * (len(d) - 1)) - base_noise.sum()
            own = np.mean(np.diag(gram)) - np.mean(noises)
            commons.append((off, own))
            others = (d.sum(axis=0) - d) / (len(d) - 1)
            cosine = (d * others).sum(axis=1) / np.linalg.norm(d, axis=1) / np.linalg.norm(others, axis=1)
            cosines += cosine[np.array(detected)].tolist()
    if not rows:
        return {}
    n, energy, noise, found, half = (np.array(column) for column in zip(*rows, strict=True))
    norm = np.sqrt(np.maximum(energy, 0.0))
    common = np.array(commons).reshape(-1, 2).mean(axis=0) if commons else (np.nan, np.nan)
    return {
        "conditions": len(n),
        "cells/condition": np.median(n),
        "norm q50": np.quantile(norm, 0.5),
        "norm q90": np.quantile(norm, 0.9),
        "norm q99": np.quantile(norm, 0.99),
        "noise norm": np.sqrt(np.median(noise)),
        "silent": 1 - found.mean(),
        "split-half r q50": np.median(half),
        "split-half r q90": np.quantile(half, 0.9),
        "common": common[0] / common[1] if common[1] > 0 else np.nan,
        "cos mean": np.median(cosines) if cosines else np.nan,
    }


def _null_energy(log: np.ndarray, control: np.ndarray, n_cells: int, rng: np.random.Generator) -> float:
    """|delta|^2 of random control cells against the others, scaled to the noise of the whole control group."""
    n_cells = min(n_cells, len(control) // 2)
    order = rng.permutation(control)
    delta = log[order[:n_cells]].mean(axis=0) - log[order[n_cells:]].mean(axis=0)
    factor = (1 / n_cells + 1 / len(control)) / (1 / n_cells + 1 / (len(control) - n_cells))
    return float(delta @ delta) * factor


def _split_half(log: np.ndarray, cells: np.ndarray, control: np.ndarray, rng: np.random.Generator) -> float:
    cells, control = rng.permutation(cells), rng.permutation(control)
    halves = [log[cells[i::2]].mean(axis=0) - log[control[i::2]].mean(axis=0) for i in (0, 1)]
    r = float(np.corrcoef(*halves)[0, 1])
    return 2 * r / (1 + r) if r > 0 else r


def statistics(screen: Screen, *, seed: int = 0, max_cells: int | None = None) -> dict:
    """All statistics of one screen."""
    rng = np.random.default_rng(seed)
    return {"data": screen.name, **noise_statistics(screen), **effect_statistics(screen, rng, max_cells=max_cells)}


def print_table(rows: list[dict]) -> None:
    """Markdown: one column per data set."""
    keys = [key for key in rows[np.argmax([len(row) for row in rows])] if key != "data"]
    print("| | " + " | ".join(row["data"] for row in rows) + " |")
    print("|---|" + "---|" * len(rows))
    for key in keys:
        values = [row.get(key, np.nan) for row in rows]
        print(f"| {key} | " + " | ".join(_show(value) for value in values) + " |")


def _show(value: float) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 50 else f"{value:.2f}"


def main() -> None:
    """Print the statistics of real and simulated screens as one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with real .h5ad files")
    parser.add_argument("--presets", nargs="*", default=[], choices=list(PRESETS))
    parser.add_argument("--panel", type=int, default=500, help="genes of the panel taken from each preset")
    parser.add_argument("--vcc-cells", type=int, default=100, help="cells per condition made of the preset vcc")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the table here, too")
    args = parser.parse_args()
    rows = []
    if args.data:
        rows += [statistics(read_real(path), seed=args.seed) for path in sorted(args.data.glob("*.h5ad"))]
    for name in args.presets:
        config = PRESETS[name]
        if name == "vcc":
            config = dataclasses.replace(config, cells_per_condition=args.vcc_cells, controls_per_line=2000)
        screen = from_simulation(name, simulate(config, args.seed).adata)
        rows.append(statistics(screen, seed=args.seed))
        if screen.counts.shape[1] > args.panel:
            rows.append(statistics(take_panel(screen, args.panel), seed=args.seed))
    print_table(rows)
    if args.json:
        args.json.write_text(json.dumps(rows, default=float, indent=1))


if __name__ == "__main__":
    main()
