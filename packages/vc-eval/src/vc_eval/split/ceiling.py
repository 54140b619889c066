"""How well half of the data predicts the other half: the ceiling that noise sets.

Test cells are cut into random halves, evaluation controls into disjoint halves within each batch; one half plays the
prediction, the other the truth. Values are raw: a half predicts a half, each noisier than the whole. For correlations
`spearman_brown` extrapolates to whole against whole; it is applied to nothing else (docs/metrics.md#ceilings).
"""

from dataclasses import replace
from typing import cast

import numpy as np
import scipy.sparse

from vc_eval.metrics import beat, expression, weighted
from vc_eval.metrics import challenge2025 as vcc
from vc_eval.metrics.trust import interpolated_duplicate
from vc_eval.rank import de
from vc_eval.split.evaluate import profile_scores
from vc_eval.split.prediction import Predicted
from vc_eval.split.truth import Effects, LineTruth, measure

MIN_CELLS = 4  # two cells in each half
DES = ("vcc2025/des", "vcc2025/des_lower", "vcc2025/des_upper")


def split_half(
    truth: LineTruth, models: dict[str, Predicted], *, seed: int, n_repeats: int = 20, n_des: int = 3
) -> dict[str, np.ndarray]:
    """The first of `halves_and_duplicate`."""
    return halves_and_duplicate(truth, models, seed=seed, n_repeats=n_repeats, n_des=n_des)[0]


def halves_and_duplicate(
    truth: LineTruth, models: dict[str, Predicted], *, seed: int, n_repeats: int = 20, n_des: int = 3
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Mean value of every metric over random halves, `{metric: [p]}`; NaN for conditions of fewer than 4 cells.

    The second is for the interpolated duplicate (docs/metrics.md#ceilings): the profile of the predicting half where that half is
    significant by itself, drawn to the mean over conditions elsewhere.

    Args:
        truth: The cell line.
        models: Predictions to beat: gives `beat/<name>` and its kin of the half data.
        seed: Root seed.
        n_repeats: Random halves for profile metrics.
        n_des: How many of them also for DES and for the duplicate.
    """
    usable = truth.sizes >= MIN_CELLS
    # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
    if not usable.any() or truth.evaluation.shape[0] < 2:
        return {}, {}
    part = truth if usable.all() else _only(truth, usable)
    collected: tuple[dict[str, list[np.ndarray]], ...] = ({}, {})
    for repeat in range(n_repeats):
        rng = np.random.default_rng([seed, repeat])
        half_n = _halve(part.group_n, rng, equal=True)
        half_control = _halve(part.evaluation_batch, rng, equal=False)
        if np.ptp(half_control) == 0:  # one control per batch: cut across batches
            half_control = rng.permutation(half_control.size) % 2
        both = _compare(part, half_n, half_control, models, usable, with_des=repeat < n_des)
        for into, values in zip(collected, both, strict=True):
            for name, value in values.items():
                into.setdefault(name, []).append(value)
    means: tuple[dict[str, np.ndarray], ...] = ({}, {})
    for result, lists in zip(means, collected, strict=True):
        for name, values in lists.items():
            result[name] = np.full(usable.size, np.nan)
            result[name][usable] = np.mean(values, axis=0)
    return means[0], means[1]


def spearman_brown(r: np.ndarray) -> np.ndarray:
    """2r / (1 + r), the correlation of two wholes from that of two halves; r of 0 or less stays as it is.

    References:
        docs/metrics.md#halves.
    """
    r = np.asarray(r, np.float64)
    return np.where(r > 0, 2 * r / (1 + np.maximum(r, 0)), r)


def _compare(
    truth: LineTruth,
    half_n: np.ndarray,
    half_control: np.ndarray,
    models: dict[str, Predicted],
    usable: np.ndarray,
    *,
    with_des: bool,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Scores of half 0 as the prediction of half 1, and with DES those of its interpolated duplicate."""
    n = len(truth.perturbations)
    n_batches = int(max(truth.batch_n.max(), truth.evaluation_batch.max())) + 1
    group = [np.where(half_n == h, truth.group_n, -1) for h in (0, 1)]
    batch = [np.where(half_control == h, truth.evaluation_batch, -1) for h in (0, 1)]
    first, second = (
        measure(truth.cells, group[h], n, truth.batch_n, truth.evaluation, batch[h], n_batches) for h in (0, 1)
    )
    predicted = Predicted(profile_pg=first.profile_pg, control_g=first.control_g, delta_pg=first.delta_pg, sd_pg=None)
    values = profile_scores(predicted, truth, second)
    keep_pg = ~truth.excluded_pg
    for name, model in models.items():
        rival_pg = model.delta_pg[usable]
        mse = expression.mean_squared_error(rival_pg, second.delta_pg, keep_pg)
        r = expression.pearson(rival_pg, second.delta_pg, keep_pg)
        values[f"beat/{name}"] = beat.wins_by_mse(values["mse_delta"], mse)
        values[f"beat_pearson/{name}"] = beat.wins_by_pearson(values["pearson_delta"], r)
        wmse = weighted.wmse(model.profile_pg[usable], second.profile_pg, truth.weight_pg)
        values[f"beat_wmse/{name}"] = beat.wins_by_mse(values["wmse"], wmse)
    duplicate: dict[str, np.ndarray] = {}
    if with_des:
        tables = [
            de.test_groups(truth.cells, group[h], n, de.sort_control(truth.evaluation[half_control == h]))
            for h in (1, 0)
        ]
        values |= dict(zip(DES, vcc.differential_expression_score(tables[0], tables[1]), strict=True))
        own = tables[1]
        profile_pg, mean_pg = (
            interpolated_duplicate(x_pg, x_pg.mean(axis=0), own.q_value_pg) for x_pg in (first.profile_pg, own.mean_pg)
        )
        shrunk = replace(
            predicted, profile_pg=profile_pg, delta_pg=first.delta_pg + profile_pg - first.profile_pg
        )  # the batch-matched control stays
        own = replace(own, mean_pg=mean_pg, lfc_pg=de.log_fold_change(mean_pg, own.control_mean_g))
        duplicate = profile_scores(shrunk, truth, second)
        duplicate |= dict(zip(DES, vcc.differential_expression_score(tables[0], own), strict=True))
    return values, duplicate


def _halve(code_n: np.ndarray, rng: np.random.Generator, *, equal: bool) -> np.ndarray:
    """`[n]` half 0 or 1 of each row, cut at random within each code; with `equal`, an odd row out gets 2."""
    shuffled = rng.permutation(code_n.size)
    order = shuffled[np.argsort(code_n[shuffled], kind="stable")]
    _, starts, sizes = np.unique(code_n[order], return_index=True, return_counts=True)
    position = np.arange(code_n.size) - np.repeat(starts, sizes)
    half = np.empty(code_n.size, np.int64)
    half[order] = position % 2
    if equal:
        half[order[(starts + sizes - 1)[sizes % 2 == 1]]] = 2
    return half


def _only(truth: LineTruth, usable: np.ndarray) -> LineTruth:
    """The line with some of its conditions."""
    code = np.where(usable, np.cumsum(usable) - 1, -1)[truth.group_n]
    rows = code >= 0
    return replace(
        truth,
        perturbations=[name for name, kept in zip(truth.perturbations, usable, strict=True) if kept],
        effects=Effects(
            profile_pg=truth.effects.profile_pg[usable],
            control_g=truth.effects.control_g,
            delta_pg=truth.effects.delta_pg[usable],
        ),
        noise_var_pg=truth.noise_var_pg[usable],
        excluded_pg=truth.excluded_pg[usable],
        target_p=truth.target_p[usable],
        cells=cast("scipy.sparse.csr_array", truth.cells[rows]),
        group_n=code[rows],
        batch_n=truth.batch_n[rows],
    )
