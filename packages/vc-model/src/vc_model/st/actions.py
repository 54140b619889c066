"""What the mapper is told about a perturbation: an id where it was trained, and features that unseen ones have too."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vc_model.contracts.features import FeatureBank
from vc_model.stored import stored
from vc_model.table.effects import MODES, Action


@stored
@dataclass(frozen=True, eq=False)
class ActionTable:
    """Ids and features of actions.

    Attributes:
        known: Labels of trained perturbations; their ids are 1, 2, ... in this order. Id 0 is every other one.
        targets: Names of targets with a vector.
        vector_tv: [t, v] float32, their vectors, scaled to a mean square of 1; v may be 0.
    """

    known: tuple[str, ...]
    targets: tuple[str, ...]
    vector_tv: np.ndarray

    @property
    def width(self) -> int:
        """Width of the features: the vectors, whether there is one, mode, dose."""
        return self.vector_tv.shape[1] + 1 + len(MODES) + 1

    def ids(self, actions: Sequence[Action]) -> np.ndarray:
        """[q] int32."""
        order = {label: at + 1 for at, label in enumerate(self.known)}
        return np.array([order.get(action.label, 0) for action in actions], np.int32)

    def features(self, actions: Sequence[Action]) -> np.ndarray:
        """[q, f] float32: summed vectors of the targets, how many have one, mode, log1p of the dose; zero for no action."""
        order = {name: at for at, name in enumerate(self.targets)}
        n_vector = self.vector_tv.shape[1]
        out_qf = np.zeros((len(actions), self.width), np.float32)
        for row, action in enumerate(actions):
            found = [order[target] for target in action.targets if target in order]
            out_qf[row, :n_vector] = self.vector_tv[found].sum(axis=0)
            out_qf[row, n_vector] = len(found)
            if action.targets:
                out_qf[row, n_vector + 1 + action.mode] = 1
                out_qf[row, -1] = np.log1p(action.dose)
        return out_qf


def make_actions(actions: Sequence[Action], banks: Sequence[FeatureBank] = ()) -> ActionTable:
    """Give every trained perturbation an id, and collect the vectors of all targets that the banks know.

    Args:
        actions: Of the training conditions.
        banks: Features of targets, side by side; a target that a bank lacks has zeros there.
    """
    known = tuple(sorted({action.label for action in actions if action.targets}))
    names = sorted(
        {name for bank in banks for name, absent in zip(bank.entities, bank.missing_e, strict=True) if not absent}
    )
    row = {name: at for at, name in enumerate(names)}
    blocks = []
    for bank in banks:
        block_tv = np.zeros((len(names), bank.vectors_ef.shape[1]), np.float32)
        for name, absent, vector in zip(bank.entities, bank.missing_e, bank.vectors_ef, strict=True):
            if not absent:
                block_tv[row[name]] = vector
        blocks.append(block_tv / max(float(np.sqrt((block_tv**2).mean())), 1e-6))
    vector_tv = np.concatenate(blocks, axis=1) if blocks else np.zeros((0, 0), np.float32)
    return ActionTable(known, tuple(names), vector_tv)
