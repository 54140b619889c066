"""What the anchors would say had other perturbations been screened: an ensemble over half-samples of the targets.

Each member refits the anchors on a random half of the targets, with its own seed. The spread of estimates over halves is
that over bootstrap samples (Buja and Stuetzle, Observations on bagging, Statistica Sinica 2006), without duplicated rows.
Members share the stacking weights, whose own doubt is the stack's, and are asked in the main directions of the training
effects only, which makes them cheap: the variance outside these directions is not counted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from vc_model.anchored.stack import MIN_ROWS, Stack, units
from vc_model.components import top_eigen
from vc_model.effect import Effect
from vc_model.table import Conditions, EffectTable

DIRECTIONS = 32  # in which members are told apart
BASES = ("basis_rg", "basis_pg", "other_1g")  # fields of effects that have genes as columns and enter their parts


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Members of a fitted stack.

    Attributes:
        direction_kg: [k, g] float32 orthonormal directions.
        members: Stacks whose anchors give coefficients of the directions instead of genes.
    """

    direction_kg: np.ndarray
    members: tuple[Stack, ...]

    def variance(self, conditions: Conditions) -> np.ndarray:
        """[q, g] float32 variance between the members' predictions."""
        said_mqk = np.stack([member.delta(conditions) for member in self.members])
        said_mqk -= said_mqk.mean(axis=0)
        total_qg = np.zeros((len(conditions), self.direction_kg.shape[1]), dtype=np.float32)
        for said_qk in said_mqk:
            part_qg = said_qk @ self.direction_kg
            total_qg += np.square(part_qg, out=part_qg)
        return total_qg / max(len(self.members) - 1, 1)


def fit_members(
    train: EffectTable, fit: Callable[[EffectTable, int], Mapping[str, Effect]], n_members: int, seed: int
) -> list[dict[str, Effect]]:
    """Anchors fitted on half-samples; none where there are too few targets to halve.

    Args:
        train: Training effects.
        fit: Fits all anchors on a table with a seed.
        n_members: How many.
        seed: Draws the halves; every second half is the complement of the one before.
    """
    unit_p = units(train.conditions)
    n_units = int(unit_p.max(initial=-1)) + 1
    if n_units < 2 * MIN_ROWS:
        return []
    rng = np.random.default_rng([seed, 1])
    members, order = [], np.arange(n_units)
    for number in range(n_members):
        order = rng.permutation(n_units) if number % 2 == 0 else order[::-1]
        half = order[: (n_units + 1) // 2]
        members.append(dict(fit(train.subset(np.isin(unit_p, half)), seed + number)))
    return members


def make_ensemble(stack: Stack, members: Sequence[Mapping[str, Effect]], delta_pg: np.ndarray) -> Ensemble | None:
    """Members with the stack's weights; None without members.

    Args:
        stack: The fitted stack.
        members: Anchors of each member.
        delta_pg: [p, g] effects whose main directions are kept.
    """
    if not members:
        return None
    value_k, vector_pk = top_eigen((delta_pg @ delta_pg.T).astype(np.float64), DIRECTIONS)
    if len(value_k) == 0:
        return None
    direction_kg = (vector_pk / np.sqrt(value_k)).T.astype(np.float32) @ delta_pg
    # A condition that is in training is not guessed, so members do not differ on it.
    measured = _project(stack.anchors[-1], direction_kg, {})
    stacks = []
    for anchors in members:
        done: dict[int, np.ndarray] = {}
        own = tuple(_project(anchors[name], direction_kg, done) for name in stack.names[:-1])
        stacks.append(replace(stack, anchors=(*own, measured)))
    return Ensemble(direction_kg, tuple(stacks))


def _project(effect: Effect, direction_kg: np.ndarray, done: dict[int, np.ndarray]) -> Effect:
    """The same effect with coefficients of the directions for genes; bases that were shared stay shared."""
    change = {}
    for field in fields(effect):
        value = getattr(effect, field.name)
        if field.name in BASES:
            if id(value) not in done:
                done[id(value)] = (value @ direction_kg.T).astype(np.float32)
            change[field.name] = done[id(value)]
        elif isinstance(value, Effect):
            change[field.name] = _project(value, direction_kg, done)
    return replace(effect, **change)
