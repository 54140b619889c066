"""What the anchors would say had other perturbations been screened: an ensemble over half-samples of the targets.

Each member refits the anchors on a random half of the targets, with its own seed. The spread of estimates over halves is
that over bootstrap samples (Buja and Stuetzle, Observations on bagging, Statistica Sinica 2006), without duplicated rows.
Members share the stacking weights, whose own doubt is the stack's, and are asked in the main directions of the training
effects only, which makes them cheap: the variance outside these directions is not counted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np

from vc_model.anchored.stack import MIN_ROWS, Stack
from vc_model.table.components import top_eigen
from vc_model.table.effect import Effect, Parts
from vc_model.table.effects import Conditions, EffectTable
from vc_model.table.folds import units
from vc_model.table.threads import in_threads

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

    def variance(self, conditions: Conditions, doubts: Sequence[np.ndarray], out_qg: np.ndarray) -> None:
        """Write the variance between the members' predictions, plus the squares of other doubts.

        Args:
            conditions: The q conditions.
            doubts: [q, k] each, in the directions.
            out_qg: Where to write.
        """
        said_mqk = np.stack([member.delta(conditions) for member in self.members])
        n = len(said_mqk)
        # Deviations from the mean of n members are n - 1 independent ones.
        turn_nm = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0].T[1:]
        parts = np.einsum("nm,mqk->nqk", turn_nm / np.sqrt(max(n - 1, 1)), said_mqk).astype(np.float32)
        out_qg[:] = 0
        for part_qk in [*parts, *doubts]:
            part_qg = part_qk @ self.direction_kg
            out_qg += np.square(part_qg, out=part_qg)

    def project(self, parts: Parts, coded: dict[int, np.ndarray]) -> np.ndarray:
        """[q, k] float32 coefficients of the directions of a sum of parts; `coded` keeps those of the bases."""
        for _, basis_rg in parts:
            if id(basis_rg) not in coded:
                coded[id(basis_rg)] = basis_rg @ self.direction_kg.T
        total_qk = sum(weight_qr @ coded[id(basis_rg)] for weight_qr, basis_rg in parts)
        return cast("np.ndarray", total_qk).astype(np.float32)


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
    halves, order = [], np.arange(n_units)
    for number in range(n_members):
        order = rng.permutation(n_units) if number % 2 == 0 else order[::-1]
        halves.append((number, order[: (n_units + 1) // 2]))
    train.gram_pp  # noqa: B018 made before threads share it

    def fit_half(part: tuple[int, np.ndarray]) -> dict[str, Effect]:
        number, half = part
        return dict(fit(train.subset(np.isin(unit_p, half)), seed + number))

    return list(in_threads(fit_half, halves))


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
    change: dict[str, Any] = {}
    for field in fields(effect):
        value = getattr(effect, field.name)
        if field.name in BASES:
            if id(value) not in done:
                done[id(value)] = (value @ direction_kg.T).astype(np.float32)
            change[field.name] = done[id(value)]
        elif isinstance(value, Effect):
            change[field.name] = _project(value, direction_kg, done)
    return replace(effect, **change)
