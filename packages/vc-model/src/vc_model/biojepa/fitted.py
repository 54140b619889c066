"""A trained BioJEPA behind the interface of every model: conditions in, effects on mean expression out.

The effect of an action on a line is the mean, over control cells of that line, of the decoder's change from the cell's own
latents to those that the predictor gives for the action. An action without targets is not asked about: its effect is 0.

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
from vc_model.biojepa.config import BioJepaConfig
from vc_model.biojepa.cpu import few_cells
from vc_model.biojepa.encoder import Tokens, cell_vector
from vc_model.biojepa.stages import bind
from vc_model.doubt.spread import Spread, fit_spread
from vc_model.errors import TableError
from vc_model.predictor import Prediction, make_prediction
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
    """

    config: BioJepaConfig
    parts: dict[str, Any]
    stages: tuple[str, ...]
    contexts: Contexts
    cells: ControlCells
    bank: ActionBank
    spread: Spread | None = None

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
        contexts = conditions.contexts_or(self.contexts)
        delta_qg, bin_q = self.delta(conditions), self.spread.known.bins(conditions)
        var_qg = self.spread.variance(bin_q, delta_qg)
        return make_prediction(conditions, contexts.base_cg, contexts, delta_qg, var_qg, self.spread.conformal, bin_q)

    def delta(self, conditions: Conditions) -> np.ndarray:
        """[q, g] float32 effects."""
        delta_qg = np.zeros((len(conditions), len(self.contexts.genes)), np.float32)
        with progress(total=len(conditions), desc=self.name) as bar:
            for line in dict.fromkeys(conditions.cell_line.tolist()):
                rows = np.flatnonzero(conditions.cell_line == line)
                actions = [conditions.actions[row] for row in rows]
                delta_qg[rows] = self._effects(*self.cells.of(line), actions, bar=bar)
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
    """Which encoder reads control cells: published the student, repaired the teacher (Q8)."""
    return "encoder" if cfg.faithful else "teacher"


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
