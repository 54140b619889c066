"""All probes that a latents file allows, as one table."""

from collections.abc import Mapping, Set

import numpy as np
import pandas as pd

from vc_interp.files.stored import StoredLatents
from vc_interp.probe.cells import detection_probe, label_probe
from vc_interp.probe.dimension import dimension
from vc_interp.probe.genes import FOLDS, Probe, essential_probe, pathway_probes

MOST_ROWS = 10_000


def probe(
    stored: StoredLatents,
    *,
    gene_sets: Mapping[str, Set[str]] | None = None,
    essential: Set[str] | None = None,
    nonessential: Set[str] | None = None,
    covariates: pd.DataFrame | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Ask everything that the rows can answer.

    Args:
        stored: Latents; gene rows are asked about pathways and essential genes, cell rows about perturbation, line and, where
            the file has a column `batch`, batch.
        gene_sets: Set name -> genes.
        essential: Names of essential genes.
        nonessential: Names of genes known not to be.
        covariates: What is known of genes anyway (index: genes; columns of numbers, e.g. mean expression): essential genes are
            also told apart by these alone, and by both.
        seed: Of draws and folds.

    Returns:
        `probe`, `value`, `chance`, `chance_sd`, `z`, `n`, `note`.

    Raises:
        InputError: If names do not fit.
    """
    rows = np.sort(np.random.default_rng([seed, 13]).permutation(len(stored))[:MOST_ROWS])
    x_nd = stored.take(rows)
    kinds, labels, lines = stored.kinds[rows], stored.labels[rows], stored.lines[rows]
    found = _dimensions(x_nd, stored.width, seed)
    genes = kinds == "gene"
    names = tuple(stored.rows[rows][genes].tolist())
    if genes.any() and gene_sets:
        found += pathway_probes(x_nd[genes], names, gene_sets, seed=seed)
    if genes.any() and essential:
        found += essential_probe(x_nd[genes], names, essential, nonessential, covariates=covariates, seed=seed)
    perturbed = sorted(set(labels.tolist()) - {"", "control"})
    if len(perturbed) >= FOLDS and (labels == "control").any():
        found.append(detection_probe(x_nd, labels, seed=seed))
    cell_n = np.array(
        [f"{line}|{name.rsplit('|', 1)[-1]}" for line, name in zip(lines, stored.rows[rows], strict=True)]
    )
    wanted = {"perturbation": labels, "cell line": lines, "batch": stored.batches[rows]}
    for name, label_n in wanted.items():
        if (label_n != "").all() and not genes.any():
            result = label_probe(name, x_nd, label_n, cell_n, seed=seed)
            found += [] if result is None else [result]
    return pd.DataFrame(
        {
            "probe": [p.name for p in found],
            "value": [p.value for p in found],
            "chance": [p.chance for p in found],
            "chance_sd": [p.chance_sd for p in found],
            "z": [p.z if p.chance_sd > 0 else np.nan for p in found],
            "n": [p.n for p in found],
            "note": [p.note for p in found],
        }
    )


def _dimensions(x_nd: np.ndarray, width: int, seed: int) -> list[Probe]:
    """Dimensions used, beside Gaussian noise of the same shape and variances."""
    own = dimension(x_nd)
    noise = np.random.default_rng([seed, 14]).standard_normal(x_nd.shape) * x_nd.std(axis=0)
    other = dimension(noise)
    return [
        Probe(text, getattr(own, name), getattr(other, name), 0.0, len(x_nd), f"of {width}; chance: noise of equal variances")
        for name, text in (("d90", "dimensions for 90 % of the variance"), ("participation", "participation ratio"),
                           ("rankme", "RankMe"), ("dead", "dead dimensions"))
    ]  # fmt: skip
