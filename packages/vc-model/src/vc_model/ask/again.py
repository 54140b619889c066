"""How well a model answers what it has seen: fitted on half of the cells, judged on the other half."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vc_model.ask.halves import halves
from vc_model.ask.sample import Sample, correlation, mean_noise, other_means, repeatability, unit_names
from vc_model.contracts import FeatureBank, Screen, Splits
from vc_model.errors import VcModelError
from vc_model.predictor import Model
from vc_model.table.effects import EffectTable
from vc_model.table.pseudobulk import load_tables

logger = logging.getLogger(__name__)
MOST = 120  # conditions the second fit is made of; bounds its time
FEWEST_CELLS = 5  # of each half of a condition


@dataclass(frozen=True, eq=False)
class Again:
    """What a model of half of the cells said of conditions that it had seen.

    Attributes:
        sample: Its accuracy on the other half, condition by condition, as it would be beside measurements with all cells.
        n_cells: Median number of cells of those conditions in each half.
    """

    sample: Sample
    n_cells: int


def ask_again(
    screen: Screen,
    splits: Splits,
    model: Model,
    banks: Sequence[FeatureBank] = (),
    *,
    seed: int = 0,
) -> Again | None:
    """Fit a model on half of the cells of at most `MOST` training conditions, and judge it on the other half.

    Args:
        screen: An open screen-v1.
        splits: Which conditions train.
        model: What is fitted.
        banks: Vectors of the targets.
        seed: Deals cells and chooses conditions.

    Returns:
        None where halves are too small to measure anything.
    """
    chosen = _choose(splits, seed)
    try:
        first, second = (load_tables(part, chosen, banks)[0] for part in halves(screen, seed))
        mine, theirs = _shared(first, second)
        if len(mine) < 2:
            return None
        table, truth = first.subset(mine), second.subset(theirs)
        said_pg = model.fit(table).predict(table.conditions).delta_pg
    except VcModelError as error:
        logger.info("accuracy of seen conditions is not measured: %s", error)
        return None
    check_pg = truth.check_pg
    sample = Sample(
        correlation(said_pg, check_pg),
        correlation(other_means(table), check_pg),
        repeatability(check_pg, mean_noise(truth, np.arange(len(truth)))),
        unit_names(table.conditions),
    )
    return Again(_of_all_cells(sample), int(np.median(truth.n_cells_p)))


def _of_all_cells(sample: Sample) -> Sample:
    """The same answers beside measurements with all cells instead of half of them (Spearman and Brown, 1910).

    Twice the cells make a repeat agree 2 r / (1 + r) instead of r; what answers correlate with grows by the square root.
    """
    grown = 2 / (1 + max(sample.repeat, 0.0))
    root = np.sqrt(grown)
    return Sample(sample.said_m * root, sample.mean_m * root, sample.repeat_m * grown, sample.unit_m)


def _choose(splits: Splits, seed: int) -> Splits:
    """The split with at most `MOST` training conditions, drawn at random."""
    training = sorted(key for key, part in splits.parts.items() if part == "train")
    order = np.random.default_rng([seed, 8]).permutation(len(training))[:MOST]
    kept = {training[at] for at in order}
    parts = {key: part if part != "train" or key in kept else "unused" for key, part in splits.parts.items()}
    return replace(splits, parts=parts)


def _shared(first: EffectTable, second: EffectTable) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both tables that are the same condition, with enough cells in each."""
    place = {
        key: row for row, key in enumerate(zip(second.conditions.cell_line, second.conditions.actions, strict=True))
    }
    mine, theirs = [], []
    for row, key in enumerate(zip(first.conditions.cell_line, first.conditions.actions, strict=True)):
        other = place.get(key)
        if other is not None and min(first.n_cells_p[row], second.n_cells_p[other]) >= FEWEST_CELLS:
            mine.append(row)
            theirs.append(other)
    return np.array(mine, dtype=np.int64), np.array(theirs, dtype=np.int64)
