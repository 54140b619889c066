"""A trained BioJEPA behind the interface of every model: conditions in, effects on mean expression out.

The effect of an action on a line is the decoder's change from the mean latents of the line's control cells to those that the
predictor gives for the action. Where there is a base, another model's prediction, the latents are moved there first and a share
of the change, the gate, is added to it; where no gate is open the answer is the base's own. A model that learnt from pairs takes
the mean of changes over single control cells instead. An action without targets is not asked about: its effect is 0.

`retrieve` asks the other way round: which action made an effect. Published, it starts from the mean control profile as if
that were a cell and describes candidates by their sequence alone; repaired, it compares the effects that `predict` gives (Q10).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from vc_contracts.progress import progress

from vc_model.biojepa.actions import ActionBank
from vc_model.biojepa.change import ROWS_AT_ONCE, change_of
from vc_model.biojepa.conditions import Lessons, shift_of
from vc_model.biojepa.config import BioJepaConfig
from vc_model.biojepa.cpu import few_cells
from vc_model.biojepa.crossfit import CrossFit
from vc_model.biojepa.encoder import Tokens, cell_vector
from vc_model.biojepa.pooled import MeanLatents
from vc_model.biojepa.stages import bind
from vc_model.doubt.spread import Spread, fit_spread
from vc_model.errors import TableError
from vc_model.predictor import Fitted, Prediction, make_prediction
from vc_model.stored import stored
from vc_model.table.effects import Action, Conditions, Contexts, EffectTable
from vc_model.table.folds import BINS, OutOfFold
from vc_model.table.pseudobulk import ControlCells

if TYPE_CHECKING:
    from tqdm import tqdm

NEEDED = ("encoder", "teacher", "composer", "predictor", "decoder")


@stored
@dataclass(frozen=True, eq=False)
class FittedBioJepa:
    """A BioJEPA after some or all of its stages.

    Attributes:
        config: The architecture.
        parts: Part -> its parameters as nested dicts of arrays.
        stages: Stages that were run, in order.
        contexts: Control profiles of the lines; their genes are the model's.
        cells: Control cells of the lines, what the model sees as unperturbed.
        bank: What it knows about targets.
        spread: Predictive variance, or None before the decoder is trained.
        base: The model whose prediction is the start, or None for no change (`BioJepaConfig.by_condition` only).
        gate_b: [b] float32, share of the change that is added, per kind of condition (`BINS`); None adds all.
    """

    config: BioJepaConfig
    parts: dict[str, Any]
    stages: tuple[str, ...]
    contexts: Contexts
    cells: ControlCells
    bank: ActionBank
    spread: Spread | None = None
    base: Fitted | None = None
    gate_b: np.ndarray | None = None

    @property
    def name(self) -> str:
        """`biojepa`, or `biojepa_faithful` with the published faults."""
        return "biojepa_faithful" if self.config.faithful else "biojepa"

    def predict(self, conditions: Conditions) -> Prediction:
        """Predict conditions.

        Raises:
            TableError: If a stage is still to be trained, or there are no control cells of a line.
        """
        missing = [part for part in NEEDED if part not in self.parts]
        if missing or self.spread is None:
            raise TableError(
                f"{self.name}: expected a model with all four stages trained, found {list(self.stages)} (no {missing}). "
                "Train the remaining stages, e.g. `vc train biojepa-decode`."
            )
        base = None if self.base is None else self.base.predict(conditions)
        if base is not None and not self._gates(conditions).any():
            return base
        contexts = conditions.contexts_or(self.contexts)
        delta_qg, bin_q = self.delta(conditions, base), self.spread.known.bins(conditions)
        var_qg = self.spread.variance(bin_q, delta_qg)
        return make_prediction(
            conditions,
            contexts.base_cg,
            contexts,
            delta_qg,
            var_qg,
            self.spread.conformal,
            bin_q,
            supported_q=None if base is None else base.supported_p,
            accuracy_q=None if base is None else base.accuracy_p,
        )

    def delta(self, conditions: Conditions, base: Prediction | None = None) -> np.ndarray:
        """[q, g] float32 effects.

        Args:
            conditions: What is asked.
            base: What the base says of them, where that is known already.
        """
        if self.config.by_condition:
            return self._from_means(conditions, base)
        delta_qg = np.zeros((len(conditions), len(self.contexts.genes)), np.float32)
        with progress(total=len(conditions), desc=self.name) as bar:
            for line in dict.fromkeys(conditions.cell_line.tolist()):
                rows = np.flatnonzero(conditions.cell_line == line)
                actions = [conditions.actions[row] for row in rows]
                delta_qg[rows] = self._effects(*self.cells.of(line), actions, bar=bar)
        return delta_qg

    def _gates(self, conditions: Conditions) -> np.ndarray:
        """[q] share of the change that is added."""
        acts_q = (conditions.sizes > 0).astype(np.float32)
        if self.gate_b is None or self.spread is None:
            return acts_q
        return self.gate_b[self.spread.known.bins(conditions)] * acts_q

    def _from_means(self, conditions: Conditions, base: Prediction | None) -> np.ndarray:
        if self.base is not None and base is None:
            base = self.base.predict(conditions)
        shape = (len(conditions), len(self.contexts.genes))
        delta_qg = np.zeros(shape, np.float32) if base is None else base.delta_pg.copy()
        gate_q = self._gates(conditions)
        means = MeanLatents(self.config, self.parts[reader_of(self.config)])
        with progress(total=int((gate_q > 0).sum()), desc=self.name) as bar:
            for line in dict.fromkeys(conditions.cell_line[gate_q > 0].tolist()):
                context_gd = means.of(*self.cells.of(line))
                rows = np.flatnonzero((conditions.cell_line == line) & (gate_q > 0))
                for block in np.split(rows, range(ROWS_AT_ONCE, len(rows), ROWS_AT_ONCE)):
                    start_qgd = np.repeat(context_gd[None], len(block), axis=0)
                    if base is not None:
                        at_q = np.full(len(block), self.cells.lines.index(line))
                        start_qgd = start_qgd + shift_of(means, self.cells, at_q, delta_qg[block])
                    action = self.bank.arrays([conditions.actions[row] for row in block])
                    change_qg = change_of(self.config, self.parts, start_qgd, action)
                    delta_qg[block] += gate_q[block, None] * change_qg
                    bar.update(len(block))
        return delta_qg

    def retrieve(self, line: str, delta_g: np.ndarray, candidates: Sequence[Action]) -> np.ndarray:
        """How well each candidate explains an effect that was observed; sort by it, highest first.

        Args:
            line: Cell line of the observation.
            delta_g: Observed effect, in the unit of predictions.
            candidates: What may have been done, e.g. one action per guide or target.

        Returns:
            [n] float32 cosine of predicted and observed effect; NaN where the published model, which knows candidates by
            sequence only, has no sequence, and for a predicted or observed effect of zero.

        Raises:
            TableError: If there are no control cells of the line.
        """
        x_ng, total_n = self.cells.of(line)
        if self.config.faithful:
            x_ng, total_n = x_ng.mean(axis=0, keepdims=True), total_n.mean(keepdims=True)
            there_n = np.array([self.bank.arrays([action])["has_seq"].any() for action in candidates], bool)
        else:
            there_n = np.ones(len(candidates), bool)
        if self.config.by_condition:
            effect_ng = self.delta(Conditions(np.full(len(candidates), line, object), tuple(candidates)))
        else:
            effect_ng = self._effects(x_ng, total_n, candidates, sequence_only=self.config.faithful)
        with np.errstate(invalid="ignore"):
            size_n = np.linalg.norm(effect_ng, axis=1) * np.linalg.norm(delta_g)
            return np.where(there_n, effect_ng @ delta_g / size_n, np.nan).astype(np.float32)

    def _effects(
        self,
        x_ng: np.ndarray,
        total_n: np.ndarray,
        actions: Sequence[Action],
        *,
        sequence_only: bool = False,
        bar: "tqdm | None" = None,
    ) -> np.ndarray:
        """[q, g] mean effect of each action on these control cells."""
        parts = jax.tree.map(jnp.asarray, {part: self.parts[part] for part in NEEDED})
        cfg = _for_cells(self.config, x_ng)
        context = _encode(cfg, parts, x_ng, total_n)
        effect_qg = np.zeros((len(actions), x_ng.shape[1]), np.float32)
        for row, action in enumerate(actions):
            if bar is not None:
                bar.update()
            if not action.targets:
                continue
            arrays = self.bank.arrays([action])
            if sequence_only:
                arrays["has_target"] = np.zeros_like(arrays["has_target"])
            effect_qg[row] = _change(cfg, parts, context, arrays)
        return effect_qg

    def encode_contexts(self) -> np.ndarray:
        """[c, d] float32 context vector of every line: the mean over control cells of the encoder's cell vectors.

        Raises:
            TableError: If the encoder is not trained.
        """
        return np.stack([self.encode_cells(line).mean(axis=0) for line in self.cells.lines])

    def encode_cells(self, line: str) -> np.ndarray:
        """[n, d] float32 cell vectors (mean latent over genes) of the control cells of a line.

        Raises:
            TableError: If the encoder is not trained, or there are no control cells of the line.
        """
        if "teacher" not in self.parts:
            raise TableError(f"{self.name}: expected a pretrained encoder, found the stages {list(self.stages)}.")
        parts = jax.tree.map(jnp.asarray, {part: self.parts[part] for part in ("encoder", "teacher")})
        x_ng, total_n = self.cells.of(line)
        return np.asarray(_vectors(_for_cells(self.config, x_ng), parts, x_ng, total_n))


def with_gates(fitted: FittedBioJepa, table: EffectTable, lessons: Lessons, held: CrossFit) -> FittedBioJepa:
    """Add the gates that held-out conditions chose, and the predictive variance of their errors.

    Args:
        fitted: After all stages.
        table: Training effects.
        lessons: Made of that table.
        held: What the folds said.
    """
    gate_m = held.gate_b[lessons.bin_m]
    # Where the gate is closed the base is all there is, whether a fold held the lesson out or not.
    known = np.flatnonzero((held.fold_m >= 0) | (gate_m == 0))
    delta_mg = lessons.base_mg[known] + gate_m[known, None] * held.change_mg[known]
    oof = OutOfFold(lessons.row_m[known], lessons.bin_m[known], {})
    return replace(fitted, gate_b=held.gate_b, spread=fit_spread(table, oof, delta_mg))


def with_spread(fitted: FittedBioJepa, table: EffectTable) -> FittedBioJepa:
    """Add the predictive variance: from errors on training conditions, because no refit without them is affordable.

    They are errors of a model that has seen these conditions, so the variance is too small where it memorised them.
    """
    delta_pg = fitted.delta(table.conditions)
    bin_p = np.where(table.conditions.sizes > 1, BINS.index("combo_unmeasured"), BINS.index("unseen"))
    seen = OutOfFold(np.arange(len(table)), bin_p, {})
    return replace(fitted, spread=fit_spread(table, seen, delta_pg))


def _for_cells(cfg: BioJepaConfig, x_ng: np.ndarray) -> BioJepaConfig:
    return cfg.for_cells(int(np.count_nonzero(x_ng, axis=1).max()))


def reader_of(cfg: BioJepaConfig) -> str:
    """The part that reads control cells (`BioJepaConfig.reader`)."""
    return "encoder" if cfg.reader == "student" else "teacher"


@partial(jax.jit, static_argnums=0)
def _encode(cfg: BioJepaConfig, parts: Mapping[str, Any], x_ng: jax.Array, total_n: jax.Array) -> Tokens:
    encoder = bind("encoder", cfg, parts[reader_of(cfg)])
    return few_cells(encoder.tokens, (x_ng, total_n), cfg.n_genes)


@partial(jax.jit, static_argnums=0)
def _vectors(cfg: BioJepaConfig, parts: Mapping[str, Any], x_ng: jax.Array, total_n: jax.Array) -> jax.Array:
    encoder = bind("encoder", cfg, parts[reader_of(cfg)])

    def vectors(x_ng: jax.Array, total_n: jax.Array) -> jax.Array:
        tokens = encoder.tokens(x_ng, total_n)
        return cell_vector(tokens.z, tokens.weight)

    return few_cells(vectors, (x_ng, total_n), cfg.n_genes)


@partial(jax.jit, static_argnums=0)
def _change(cfg: BioJepaConfig, parts: Mapping[str, Any], context: Tokens, action: Mapping[str, Any]) -> jax.Array:
    """[g] mean over cells of the change of expression under one action."""
    token_pa = bind("composer", cfg, parts["composer"])(action)
    predictor, decoder = (bind(part, cfg, parts[part]) for part in ("predictor", "decoder"))

    def change(cells: Tokens) -> jax.Array:
        token_npa, mask_np = (jnp.repeat(u, len(cells.z), axis=0) for u in (token_pa, action["pert_mask"]))
        mu, _ = predictor(cells.z, token_npa, mask_np, cells.weight)
        return decoder(mu) - cells.spread(decoder(cells.z))

    return few_cells(change, (context,), cfg.n_genes).mean(axis=0)
