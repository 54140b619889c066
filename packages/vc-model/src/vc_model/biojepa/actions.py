"""Actions as the arrays that the composer reads: a bank of vectors per target, and rows of it per condition.

Two paths describe a target (model A5): a *sequence* vector (guide, protein or compound) and a *target* vector. Either
can come from a features-v1 bank. Without a bank of target vectors there is always one: what the anchored model knows
about a target too (co-expression in control cells, how training perturbations move it, control mean, and gene sets where a
bank of them was given).

Letters: e entities, s and t widths of the two paths, n conditions, p slots.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vc_model.contracts import FeatureBank
from vc_model.errors import TableError
from vc_model.stored import stored
from vc_model.table.effects import Action, Conditions, EffectTable
from vc_model.table.features import make_features

SLOTS = 4
"""Most perturbations of one action."""
MODALITY_OF_KIND = {"guide": 0, "protein": 1, "compound": 2}
OWN_SOURCE = "targets: control co-expression, training effects and control mean"
"""What a bank says of its target vectors where they come from the screen itself."""
Arrays = dict[str, np.ndarray]


@stored
@dataclass(frozen=True, eq=False)
class ActionBank:
    """What is known about each target before it is perturbed.

    Attributes:
        source: Where the two kinds of vectors come from, in words.
        entities: [e] targets.
        seq_es: [e, s] float32; zeros where there is none.
        modality_e: [e] int32: 0 guide, 1 protein, 2 compound.
        has_seq_e: [e] bool.
        target_et: [e, t] float32; zeros where there is none.
        has_target_e: [e] bool.
    """

    source: str
    entities: tuple[str, ...]
    seq_es: np.ndarray
    modality_e: np.ndarray
    has_seq_e: np.ndarray
    target_et: np.ndarray
    has_target_e: np.ndarray

    def index(self, actions: Sequence[Action]) -> np.ndarray:
        """[n, p] int64 row of each target; e for a target that is not here, -1 for an empty slot.

        Raises:
            TableError: If an action has more targets than there are slots.
        """
        row_of = {name: row for row, name in enumerate(self.entities)}
        index_np = np.full((len(actions), SLOTS), -1, np.int64)
        for at, action in enumerate(actions):
            if len(action.targets) > SLOTS:
                raise TableError(
                    f"Action {action.label}: expected at most {SLOTS} targets, found {len(action.targets)}. Leave it out."
                )
            index_np[at, : len(action.targets)] = [row_of.get(name, len(self.entities)) for name in action.targets]
        return index_np

    def take(self, index_np: np.ndarray, mode_n: np.ndarray, dose_n: np.ndarray) -> Arrays:
        """The composer's arrays for rows of `index`; a dose that is 0 or NaN is none (-1)."""
        known_np = (index_np >= 0) & (index_np < len(self.entities))
        row_np = np.where(known_np, index_np, 0)
        has_seq_np, has_target_np = known_np & self.has_seq_e[row_np], known_np & self.has_target_e[row_np]
        dose_n = np.where(np.nan_to_num(dose_n) > 0, dose_n, -1.0)
        return {
            "seq_emb": np.where(has_seq_np[..., None], self.seq_es[row_np], np.float32(0)),
            "target_emb": np.where(has_target_np[..., None], self.target_et[row_np], np.float32(0)),
            "modality": np.where(known_np, self.modality_e[row_np], 0).astype(np.int32),
            "mode": np.broadcast_to(mode_n[:, None], index_np.shape).astype(np.int32),
            "has_seq": has_seq_np,
            "has_target": has_target_np,
            "pert_mask": index_np >= 0,
            "dose": np.broadcast_to(dose_n[:, None], index_np.shape).astype(np.float32),
        }

    def arrays(self, actions: Sequence[Action]) -> Arrays:
        """The composer's arrays for actions."""
        mode_n = np.array([action.mode for action in actions], np.int64)
        dose_n = np.array([action.dose for action in actions], np.float32)
        return self.take(self.index(actions), mode_n, dose_n)


def make_action_bank(
    table: EffectTable,
    targets: Sequence[str],
    *,
    seq_width: int,
    target_width: int,
    modality_widths: Sequence[int],
    sequences: FeatureBank | None = None,
    target_vectors: FeatureBank | None = None,
) -> ActionBank:
    """Collect what is known about targets.

    Args:
        table: Training effects; their features are the target vectors where no bank brings them.
        targets: Targets that will be asked for; the screen's genes are added, so that any gene can be.
        seq_width: s, to which sequence vectors are padded.
        target_width: t, to which target vectors are padded.
        modality_widths: Widest vector of a guide, a protein and a compound.
        sequences: Bank of kind guide, protein or compound whose entities are targets of the screen.
        target_vectors: Bank of target vectors, of any kind.

    Raises:
        TableError: If a bank's vectors are wider than the model takes, or its kind has no modality.
    """
    entities = tuple(dict.fromkeys([*sorted(set(targets)), *table.genes]))
    e = len(entities)
    seq_es, has_seq_e, modality_e = np.zeros((e, seq_width), np.float32), np.zeros(e, bool), np.zeros(e, np.int32)
    if sequences is not None:
        seq_es, has_seq_e = _from_bank(sequences, entities, seq_width)
        modality = MODALITY_OF_KIND.get(sequences.kind)
        if modality is None or sequences.vectors_ef.shape[1] > modality_widths[modality]:
            raise TableError(
                f"sequences {sequences.name!r}: expected guides, proteins or compounds of at most {tuple(modality_widths)} "
                f"numbers, found {sequences.kind} of {sequences.vectors_ef.shape[1]}. Give another bank."
            )
        modality_e[:] = modality
    if target_vectors is not None:
        target_et, has_target_e = _from_bank(target_vectors, entities, target_width)
        source = f"targets: {target_vectors.name}"
    else:
        target_et, has_target_e = _from_features(table, entities, target_width)
        source = _own_source(table)
    source = f"sequences: {'none' if sequences is None else sequences.name}; {source}"
    return ActionBank(source, entities, seq_es, modality_e, has_seq_e, target_et, has_target_e)


def relearn(bank: ActionBank, table: EffectTable) -> ActionBank:
    """The same bank with target vectors of another table, where they come from the screen itself.

    Args:
        bank: What is known of targets.
        table: Training effects that may be known, over the same genes and with the same features.

    Raises:
        TableError: If the bank was made with other features than the table has.
    """
    if OWN_SOURCE not in bank.source:
        return bank
    if not bank.source.endswith(_own_source(table)):
        raise TableError(
            f"features: expected those of the stages before ({bank.source}), found {_own_source(table)}. Give the same banks."
        )
    target_et, has_target_e = _from_features(table, bank.entities, bank.target_et.shape[1])
    return replace(bank, target_et=target_et, has_target_e=has_target_e)


def _own_source(table: EffectTable) -> str:
    return OWN_SOURCE + "".join(f", {bank.name}" for bank in table.banks)


def _from_bank(bank: FeatureBank, entities: tuple[str, ...], width: int) -> tuple[np.ndarray, np.ndarray]:
    if bank.vectors_ef.shape[1] > width:
        raise TableError(
            f"bank {bank.name!r}: expected vectors of at most {width} numbers, found {bank.vectors_ef.shape[1]}. "
            "Give another bank, or a model that takes wider ones."
        )
    row_of = {name: row for row, name in enumerate(bank.entities) if not bank.missing_e[row]}
    vectors_ew, there_e = np.zeros((len(entities), width), np.float32), np.zeros(len(entities), bool)
    for at, name in enumerate(entities):
        if name in row_of:
            vectors_ew[at, : bank.vectors_ef.shape[1]], there_e[at] = bank.vectors_ef[row_of[name]], True
    return vectors_ew, there_e


def _from_features(table: EffectTable, entities: tuple[str, ...], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of targets, averaged over lines, scaled so that a training target has a mean square of 1."""
    features = make_features(table)
    keep = np.ones(features.ends[-1], bool)
    keep[features.blocks["action"]] = False  # mode and dose reach the composer on their own
    if keep.sum() > width:
        raise TableError(f"target_width: expected at least {keep.sum()}, the number of features, found {width}.")
    actions = tuple(Action((name,)) for name in entities)
    lines = [Conditions(np.full(len(entities), line, object), actions, table.contexts) for line in table.cell_lines]
    vectors_ef = np.mean([features.transform(line)[:, keep] for line in lines], axis=0)
    there_e = (vectors_ef != 0).any(axis=1)
    trained = {target for action in table.conditions.actions for target in action.targets}
    used_e = there_e & np.array([name in trained for name in entities], bool)
    if not there_e.any():
        return np.zeros((len(entities), width), np.float32), there_e
    size = np.sqrt((vectors_ef[used_e if used_e.any() else there_e] ** 2).sum(axis=1).mean() / width)
    padded_ew = np.zeros((len(entities), width), np.float32)
    padded_ew[:, : keep.sum()] = vectors_ef / max(size, 1e-6)
    return padded_ew, there_e
