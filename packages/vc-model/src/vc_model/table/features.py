"""Features of single perturbations: what is known about a target before it is perturbed.

Always there: the target's co-expression with other genes in control cells of the line, how other perturbations move it
in the training screen, its control mean, variance and detection, the mode and the dose. Each features-v1 bank adds
vectors from outside, with a projection of its own. A target that is no measured gene, or not in a bank, has zeros there
and a mask that says so.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vc_model.contracts.features import FeatureBank
from vc_model.stored import stored
from vc_model.table.components import make_components
from vc_model.table.effects import MODES, Conditions, Contexts, EffectTable

N_SCORES = 16  # components of training effects whose gene scores are features
N_BANK = 128  # components kept of a bank


@stored
@dataclass(frozen=True, eq=False)
class BankMap:
    """One source of vectors, projected.

    Attributes:
        entities: Entities that have a vector.
        vector_eb: [e, b] float32, the projected vectors.
        centre_f: [f] float32, what is subtracted from a vector of the encoder, and
        directions_fb: [f, b] float32, what it is multiplied by then; kept for compounds, so that new ones can be asked about.
        recipe: How vectors of compounds were made (`FeatureBank.recipe`); empty for other kinds.
    """

    entities: tuple[str, ...]
    vector_eb: np.ndarray
    centre_f: np.ndarray | None = None
    directions_fb: np.ndarray | None = None
    recipe: str = ""

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Entity -> row."""
        return {name: row for row, name in enumerate(self.entities)}


@stored
@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Turns single perturbations into vectors; fitted on training targets alone.

    Attributes:
        contexts: Contexts used where conditions bring none of their own.
        scores_gs: [g, s] float32, gene scores of the training effects.
        banks: The sources of vectors from outside.
        mean_f: [f] float32, training mean of the raw features (of present ones).
        scale_f: [f] float32, what the centred features are multiplied by; every block has unit total variance.
        ends: Where each block ends in f: co-expression, scores, control, the banks, and the action with the masks.
    """

    contexts: Contexts
    scores_gs: np.ndarray
    banks: tuple[BankMap, ...]
    mean_f: np.ndarray
    scale_f: np.ndarray
    ends: tuple[int, ...]

    @property
    def blocks(self) -> dict[str, slice]:
        """Columns of every block that has any."""
        starts, names = (0, *self.ends[:-1]), ["bank", *(f"bank {at}" for at in range(2, len(self.banks) + 1))]
        names = ("coexpression", "scores", "control", *names[: len(self.banks)], "action")
        return {name: slice(a, b) for name, a, b in zip(names, starts, self.ends, strict=True) if b > a}

    def transform(self, singles: Conditions) -> np.ndarray:
        """[r, f] float32 standardised features of single perturbations; zeros where nothing is known."""
        raw_rf, present_rf = _raw(singles, singles.contexts_or(self.contexts), self)
        return np.where(present_rf, (raw_rf - self.mean_f) * self.scale_f, 0).astype(np.float32)


def make_features(table: EffectTable) -> FeatureMap:
    """The feature map of a table, made once per table."""
    return table.once("features", lambda: _fit(table))


def _fit(table: EffectTable) -> FeatureMap:
    singles = table.conditions.components()[1]
    targets = {action.targets[0] for action in singles.actions}
    banks = tuple(_project_bank(bank, targets) for bank in table.banks)
    scores_gs = _gene_scores(table)
    widths = (
        table.contexts.loadings_cgk.shape[2],
        scores_gs.shape[1],
        3,
        *(bank.vector_eb.shape[1] for bank in banks),
        len(MODES) + 2 + max(1, len(banks)),
    )
    ends = tuple(int(end) for end in np.cumsum(widths))
    zeros = np.zeros(ends[-1], dtype=np.float32)
    bare = FeatureMap(table.contexts, scores_gs, banks, zeros, zeros, ends)
    raw_rf, present_rf = _raw(singles, table.contexts, bare)
    count_f = np.maximum(present_rf.sum(axis=0), 1)
    mean_f = np.where(present_rf, raw_rf, 0).sum(axis=0) / count_f
    var_f = np.where(present_rf, (raw_rf - mean_f) ** 2, 0).sum(axis=0) / count_f
    scale_f = np.where(var_f > 1e-10, 1 / np.sqrt(np.maximum(var_f, 1e-10)), 0)
    for name, columns in bare.blocks.items():
        if name.startswith("bank"):
            # A projected bank keeps the relative size of its components; the other blocks have none to keep.
            total = var_f[columns].sum()
            scale_f[columns] = 1 / np.sqrt(total) if total > 0 else 0
        else:
            scale_f[columns] /= np.sqrt(max(1, np.count_nonzero(scale_f[columns])))
    return FeatureMap(table.contexts, scores_gs, banks, mean_f.astype(np.float32), scale_f.astype(np.float32), ends)


def _raw(singles: Conditions, contexts: Contexts, features: FeatureMap) -> tuple[np.ndarray, np.ndarray]:
    """Unstandardised features and whether each is known, both [r, f]."""
    line_r = contexts.positions(singles.cell_line)
    gene_of = contexts.gene_position
    gene_r = np.array([gene_of.get(action.targets[0], -1) for action in singles.actions], dtype=np.int64)
    measured_r = gene_r >= 0
    control_r3 = np.stack(
        [
            contexts.input_cg[line_r, gene_r],
            np.sqrt(contexts.sigma2_cg[line_r, gene_r]),
            contexts.detected_cg[line_r, gene_r],
        ],
        axis=1,
    )
    mode_r = np.eye(len(MODES), dtype=np.float32)[[action.mode for action in singles.actions]]
    dose_r = np.log1p(np.array([action.dose for action in singles.actions], dtype=np.float32))
    banked = [_look_up(bank, singles) for bank in features.banks]
    masks = [known_r for _, known_r in banked] or [np.zeros(len(singles), dtype=bool)]
    blocks = (
        (contexts.loadings_cgk[line_r, gene_r], measured_r),
        (features.scores_gs[gene_r], measured_r),
        (control_r3, measured_r),
        *banked,
        (
            np.column_stack([mode_r.reshape(-1, len(MODES)), dose_r, measured_r, *masks]),
            np.ones(len(singles), dtype=bool),
        ),
    )
    raw_rf = np.concatenate([values for values, _ in blocks], axis=1)
    present_rf = np.concatenate(
        [np.repeat(known[:, None], values.shape[1], axis=1) for values, known in blocks], axis=1
    )
    return raw_rf, present_rf


def _gene_scores(table: EffectTable) -> np.ndarray:
    """[g, s] how training perturbations move each gene, as scores of the main components of their effects.

    A perturbation's effect on its own target is left out: it is known for training targets only, and would make the
    features of training targets unlike those of targets to be predicted.
    """
    lift_kp = make_components(table).lift_kp[:N_SCORES].astype(np.float32)
    scores_gs = table.delta_pg.T @ lift_kp.T
    for row, action in enumerate(table.conditions.actions):
        for target in action.targets:
            gene = table.gene_position.get(target)
            if gene is not None:
                scores_gs[gene] -= table.delta_pg[row, gene] * lift_kp[:, row]
    return scores_gs


def _look_up(bank: BankMap, singles: Conditions) -> tuple[np.ndarray, np.ndarray]:
    """[r, b] vectors of the targets and [r] whether the bank has them."""
    entity_r = np.array([bank.row_of.get(action.targets[0], -1) for action in singles.actions], dtype=np.int64)
    if not bank.entities:
        return np.zeros((len(singles), 0), np.float32), entity_r >= 0
    return bank.vector_eb[entity_r], entity_r >= 0


def _project_bank(bank: FeatureBank, targets: set[str]) -> BankMap:
    """Project a bank onto at most 128 components of the training targets in it."""
    there = np.flatnonzero(~bank.missing_e)
    entities = tuple(bank.entities[row] for row in there)
    vectors = bank.vectors_ef[there]
    known = np.array([name in targets for name in entities], dtype=bool)
    if known.sum() < 2:
        return BankMap((), np.zeros((0, 0), dtype=np.float32))
    centre = vectors[known].mean(axis=0)
    _, sizes, directions = np.linalg.svd(vectors[known] - centre, full_matrices=False)
    keep = np.flatnonzero(sizes > 1e-5 * max(sizes.max(), 1e-12))[:N_BANK]
    directions = (
        directions[keep]
        * np.where(directions[keep][np.arange(len(keep)), np.abs(directions[keep]).argmax(axis=1)] < 0, -1, 1)[:, None]
    )
    projected = ((vectors - centre) @ directions.T).astype(np.float32)
    if bank.kind != "compound" or not bank.recipe:
        return BankMap(entities, projected)
    return BankMap(entities, projected, centre.astype(np.float32), np.ascontiguousarray(directions.T), bank.recipe)
