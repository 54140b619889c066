"""The two ends of the 2026 scale, measured on the real cells alone: 0 is the mean response, 1 is a replicate.

The baseline knows the mean response of the very perturbations that are scored, so 0 is not "knows nothing". The
replicate is one half of the cells against the other, each half with its own control; it is raw, so scores above 1 are
possible. Anchors depend on the real data and the rule only: write `Anchors.as_dict` down and hand it in again.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from vc_contracts.progress import progress

from vc_eval.cells.rows import BLOCK_BYTES
from vc_eval.errors import VcEvalError
from vc_eval.roles import MEAN_EFFECT, SPLIT_HALF
from vc_eval.vcc2026 import members
from vc_eval.vcc2026.counts import Counts, sum_groups
from vc_eval.vcc2026.sides import MeasuredSide, RealSide, measure_prediction, measure_real

HIGHER = ("pds_cosine", "direction_fidelity", "direction_reach", "sig_jaccard")
LOWER = ("expression_error", "lfc_nmae")
MEMBERS = ("pds_cosine", "expression_error", "direction_fidelity", "direction_reach", "sig_jaccard", "lfc_nmae")
N_SPLITS = 5


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Aggregates of the six members at both ends of the scale."""

    baseline: dict[str, float]
    replicate: dict[str, float]
    replicate_sd: dict[str, float]
    """Standard deviation over the splits; differences in score below it over the span are not resolvable."""
    emission: str
    """`dispersed` or `tile`; how the baseline profile became cells."""
    seed: int
    """Of the emission, and the root of the split seeds."""
    split_seeds: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON."""
        return asdict(self) | {"split_seeds": list(self.split_seeds)}


def split_seeds(seed: int = 0, n_splits: int = N_SPLITS) -> tuple[int, ...]:
    """Seeds of the half splits, words of a numpy SeedSequence; seed 0 gives those of the challenge."""
    return tuple(int(word) for word in np.random.SeedSequence(seed).generate_state(n_splits))


def aggregate(predicted: MeasuredSide, real: RealSide) -> dict[str, float]:
    """The six members of one measured prediction: means over perturbations with a value, and the ratio of sums."""
    values = {
        "pds_cosine": members.pds_cosine(predicted, real),
        "direction_fidelity": members.direction_fidelity(predicted, real),
        "direction_reach": members.direction_reach(predicted, real),
        "sig_jaccard": members.sig_jaccard(predicted, real),
        "lfc_nmae": members.lfc_nmae(predicted.lfc_pg, real),
    }
    result = {name: mean(value) for name, value in values.items()}
    result["expression_error"] = members.expression_ratio(members.expression_terms(predicted, real))
    return {name: result[name] for name in MEMBERS}


def mean(values_p: np.ndarray) -> float:
    """Mean of the defined values; NaN if there is none."""
    defined = values_p[~np.isnan(values_p)]
    return float(defined.mean()) if defined.size else float("nan")


def compute_anchors(
    counts: Counts, labels: pd.Series, genes: np.ndarray, real: RealSide, *, control: str,
    target_genes: dict[str, str | None] | None = None, emission: str = "dispersed", seed: int = 0,
    n_splits: int = N_SPLITS, keep: dict[str, tuple[MeasuredSide, RealSide]] | None = None,
) -> Anchors:  # fmt: skip
    """Measure both anchors on the real cells.

    Args:
        counts: Real cells.
        labels: `[n]` label column of the real cells, missing where a cell is left out; a categorical keeps the order of
            its categories, which decides the order of the random draws.
        genes: `[g]` gene names.
        real: The same cells measured.
        control: Control label.
        target_genes: See `sides.find_targets`.
        emission: `dispersed`, or `tile` for the older baseline of identical cells.
        seed: Root seed.
        n_splits: Number of half splits.
        keep: Receives (prediction, truth) of the baseline and of the first split, for a table.

    Raises:
        VcEvalError: If a label has a single cell, a gene is targeted by every perturbation, or an option is unknown.
    """
    label_n = np.where(labels.isna(), "", labels.astype(str)).astype(str)
    predicted = measure_baseline(counts, label_n, real, control=control, emission=emission, seed=seed)
    baseline = aggregate(predicted, real)
    seeds = split_seeds(seed, n_splits)
    splits = []
    for split_seed in progress(seeds, desc="replicate anchor", unit="split", shown=counts.progress):
        half, truth = measure_halves(counts, labels, genes, real, control, target_genes, split_seed)
        splits.append(aggregate(half, truth))
        splits[-1]["lfc_nmae"] = mean(members.lfc_nmae(truth.lfc_pg, real, against_pg=half.lfc_pg))
        if keep is not None and len(splits) == 1:
            keep |= {MEAN_EFFECT: (predicted, real), SPLIT_HALF: (half, truth)}
    return Anchors(
        baseline=baseline,
        replicate={name: float(np.mean([split[name] for split in splits])) for name in MEMBERS},
        replicate_sd={name: float(np.std([split[name] for split in splits])) for name in MEMBERS},
        emission=emission, seed=seed, split_seeds=seeds,
    )  # fmt: skip


def measure_baseline(
    counts: Counts, label_n: np.ndarray, real: RealSide, *, control: str, emission: str, seed: int
) -> MeasuredSide:
    """The mean response, given to cells and measured."""
    profile_g = mean_response(counts, label_n, real)
    predicted_n, cells = emit_baseline(counts, label_n, profile_g, control=control, emission=emission, seed=seed)
    emitted = Counts(
        rows=cells, name="baseline", fractional=True, memory_mb=counts.memory_mb, n_threads=counts.n_threads,
        progress=counts.progress,
    )  # fmt: skip
    return measure_prediction(emitted, predicted_n, real)


def mean_response(counts: Counts, label_n: np.ndarray, real: RealSide) -> np.ndarray:
    """`[g]` mean over perturbations of their mean counts, every perturbation weighted equally and silent about its own target.

    Raises:
        VcEvalError: If some gene is the target of every perturbation.
    """
    position = {name: p for p, name in enumerate(real.perturbations)}
    code_n = np.array([position.get(label, -1) for label in label_n.tolist()], np.int64)
    sums = sum_groups(counts, code_n, len(position))
    mean_pg = sums.sums_pg / sums.sizes[:, None]
    total_g, count_g = mean_pg.sum(axis=0), np.full(mean_pg.shape[1], float(len(mean_pg)))
    rows = np.flatnonzero(real.target_p >= 0)
    np.subtract.at(total_g, real.target_p[rows], mean_pg[rows, real.target_p[rows]])
    np.subtract.at(count_g, real.target_p[rows], 1)
    if (count_g <= 0).any():
        raise VcEvalError(
            f"baseline: {', '.join(real.genes[count_g <= 0][:5])} is the target of every perturbation, so the mean "
            "response is undefined there; score more perturbations."
        )
    return total_g / count_g


def emit_baseline(
    counts: Counts, label_n: np.ndarray, profile_g: np.ndarray, *, control: str, emission: str = "dispersed",
    seed: int = 0,
) -> tuple[np.ndarray, "EmittedRows"]:  # fmt: skip
    """Cells of the baseline: as many per perturbation as there are real ones.

    `dispersed` draws control cells with replacement and multiplies every gene by profile / control mean, so that the
    mean of the counts is the profile and the spread is that of controls. `tile` repeats the profile.

    Returns:
        (labels `[n]`, cells `[n, g]` float32, fractional counts), perturbations in name order.

    Raises:
        VcEvalError: If the emission is unknown.
    """
    if emission not in ("dispersed", "tile"):
        raise VcEvalError(f"emission: expected 'dispersed' or 'tile', found {emission!r}.")
    names, sizes = np.unique(label_n[(label_n != control) & (label_n != "")], return_counts=True)
    if emission == "tile":
        profile = scipy.sparse.csr_array(profile_g.astype(np.float32)[None])
        return np.repeat(names, sizes), EmittedRows(
            profile, np.zeros(int(sizes.sum()), np.int64), np.ones(profile_g.size)
        )
    wanted = label_n == control
    parts = [block[wanted[start : start + block.shape[0]]] for start, block in counts.blocks("controls")]
    controls = scipy.sparse.csr_array(scipy.sparse.vstack(parts, format="csr"))
    # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
    control_mean_g = np.asarray(controls.astype(np.float64).sum(axis=0)).ravel() / controls.shape[0]
    scale_g = np.divide(profile_g, control_mean_g, out=np.zeros_like(profile_g), where=control_mean_g > 0)
    rng = np.random.default_rng(seed)
    # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
    drawn = np.concatenate([rng.integers(0, controls.shape[0], size=int(size)) for size in sizes])
    return np.repeat(names, sizes), EmittedRows(controls, drawn, scale_g)


class EmittedRows:
    """Cells made on the way, block by block: rows drawn from a few, every gene scaled."""

    dtype = np.dtype(np.float32)

    def __init__(self, source: scipy.sparse.csr_array, drawn: np.ndarray, scale_g: np.ndarray) -> None:
        self.source, self.drawn, self.scale_g = source, drawn, scale_g
        # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
        self.n_rows, self.n_columns = drawn.size, source.shape[1]
        # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
        row_bytes = 8 * max(1.0, source.nnz / max(source.shape[0], 1))
        self.rows_per_block = int(max(1, BLOCK_BYTES // row_bytes))
        self.n_blocks = -(-self.n_rows // self.rows_per_block)

    def blocks(self) -> Iterator[tuple[int, scipy.sparse.csr_array]]:
        """See `rows.Rows`."""
        for start in range(0, self.n_rows, self.rows_per_block):
            cells = scipy.sparse.csr_array(self.source[self.drawn[start : start + self.rows_per_block]])
            cells.data = (cells.data * self.scale_g[cells.indices]).astype(np.float32)
            cells.eliminate_zeros()
            yield start, cells


def halves(labels: pd.Series, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`[n]` bool of two disjoint random halves: floor(n / 2) cells of every label in each, an odd cell in neither."""
    rng = np.random.default_rng(seed)
    first, second = (np.zeros(len(labels), bool) for _ in range(2))
    for rows in labels.groupby(labels, observed=True).indices.values():
        shuffled = rng.permutation(np.asarray(rows))
        n = shuffled.size // 2
        first[shuffled[:n]] = second[shuffled[n : 2 * n]] = True
    return first, second


def measure_halves(
    counts: Counts, labels: pd.Series, genes: np.ndarray, real: RealSide, control: str,
    target_genes: dict[str, str | None] | None, seed: int,
) -> tuple[MeasuredSide, RealSide]:  # fmt: skip
    """One half of the real cells as the prediction, the other as the truth, each with its own control."""
    single = sorted(name for name, n in real.n_cells.items() if n < 2)
    if single:
        raise VcEvalError(
            f"replicate anchor: {len(single)} labels have a single cell (first: {', '.join(single[:5])}); halves need "
            "two. Drop them from the real data, or give the anchors."
        )
    label_n = np.where(labels.isna(), "", labels.astype(str)).astype(str)
    truth, prediction = (
        measure_real(counts, np.where(half, label_n, ""), genes, control=control, target_genes=target_genes)
        for half in halves(labels, seed)
    )
    return prediction, truth
