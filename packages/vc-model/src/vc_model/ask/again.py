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
from vc_model.table.effects import Action, Conditions, EffectTable
from vc_model.table.pseudobulk import load_tables

logger = logging.getLogger(__name__)
MOST = 120  # conditions the second fit is made of; bounds its time
FEWEST_CELLS = 5  # of each half of a condition


@dataclass(frozen=True, eq=False)
class Again:
    """What a model of half of the cells said of conditions that it had seen.

    Attributes:
        conditions: The m conditions.
        said_m: [m] correlation over genes of answer and effect measured on the other half.
        mean_m: [m] the same of the mean effect of all other perturbations.
    """

    conditions: Conditions
    said_m: np.ndarray
    mean_m: np.ndarray

    def sample(self, table: EffectTable) -> Sample:
        """The answers as they would be beside measurements with all cells.

        Half the cells make a repeat agree r / (2 - r) instead of r (Spearman and Brown, 1910), and what answers correlate
        with shrinks by the root of that ratio. r is taken from the whole table, where it is known best.

        Args:
            table: Effects measured on all cells, these conditions among them.
        """
        place = {pair: row for row, pair in enumerate(_pairs(table.conditions))}
        at = [at for at, pair in enumerate(_pairs(self.conditions)) if pair in place]
        rows = np.array([place[pair] for pair in _pairs(self.conditions) if pair in place], dtype=np.int64)
        repeat_m = repeatability(table.check_pg[rows], mean_noise(table, rows))
        root = np.sqrt(2 - np.clip(repeat_m.mean(), 0, 1)) if len(at) else 1.0
        return Sample(self.said_m[at] * root, self.mean_m[at] * root, repeat_m, unit_names(table.conditions)[rows])


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
    return Again(table.conditions, correlation(said_pg, check_pg), correlation(other_means(table), check_pg))


def _choose(splits: Splits, seed: int) -> Splits:
    """The split with at most `MOST` training conditions, drawn at random."""
    training = sorted(key for key, part in splits.parts.items() if part == "train")
    order = np.random.default_rng([seed, 8]).permutation(len(training))[:MOST]
    kept = {training[at] for at in order}
    parts = {key: part if part != "train" or key in kept else "unused" for key, part in splits.parts.items()}
    return replace(splits, parts=parts)


def _shared(first: EffectTable, second: EffectTable) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both tables that are the same condition, with enough cells in each."""
    place = {pair: row for row, pair in enumerate(_pairs(second.conditions))}
    mine, theirs = [], []
    for row, key in enumerate(_pairs(first.conditions)):
        other = place.get(key)
        if other is not None and min(first.n_cells_p[row], second.n_cells_p[other]) >= FEWEST_CELLS:
            mine.append(row)
            theirs.append(other)
    return np.array(mine, dtype=np.int64), np.array(theirs, dtype=np.int64)


def _pairs(conditions: Conditions) -> list[tuple[str, Action]]:
    return list(zip(conditions.cell_line.tolist(), conditions.actions, strict=True))
