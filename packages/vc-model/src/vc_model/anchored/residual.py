"""The learned residual: what a small network adds to the stack, and a pairwise interaction that singles cannot have.

    r1(c, P) = sum_{p in P} Gm_c h(p, c)             r2(c, P) = sum_{p < q in P} Gm_c U (h(p, c) * h(q, c))
    Gm_c = Gm diag(1 + scale(q_c)),  h = MLP(features of p, bin, context q_c) * dose gate

Gm and U start at zero, so an untrained residual is no residual. Gm is learnt in the span of the main training effects
(128 directions), which keeps it gene-specific while a step costs nothing that grows with the number of genes. All
cross-fitting folds and the final fit are trained at once, as one vectorised full-batch loop of fixed length; the
exponential moving average of the weights is kept. The network itself is in `network.py`, which alone needs JAX here.
"""

from dataclasses import dataclass

import numpy as np
from vc_contracts.progress import progress

from vc_model.anchored.weights import LossWeights, de_weights
from vc_model.table.components import top_eigen
from vc_model.table.effects import Conditions, Contexts, EffectTable
from vc_model.table.features import FeatureMap, make_features
from vc_model.table.folds import BINS

N_CONTEXT = 8  # components of the lines' input profiles that describe a context


@dataclass(frozen=True, kw_only=True)
class ResidualConfig:
    """Choices of the residual."""

    hidden: int = 64
    """Width of the hidden layer."""
    rank: int = 32
    """k, width of h and rank of the readout."""
    directions: int = 128
    """Main training effects that span the readout."""
    steps: int = 200
    """Full-batch steps."""
    learning_rate: float = 1e-2
    """Peak rate of AdamW; 5 % warm-up, then cosine."""
    weight_decay: float = 1e-2
    """Of AdamW."""
    interaction_ridge: float = 1e-2
    """Penalty on U, relative to the loss."""
    ema: float = 0.98
    """Decay of the averaged weights."""
    losses: LossWeights = LossWeights()  # noqa: RUF009 frozen, so sharing the default is safe
    """How much each loss counts (`vc_model.anchored.losses`); by default the noise-aware squared error alone."""
    seed: int = 0
    """Of the initial weights."""


@dataclass(frozen=True)
class ConditionArrays:
    """Conditions as arrays.

    Attributes:
        x: [n, t, f] features of each target.
        present: [n, t] 1 where there is a target.
        log_dose: [n] log1p of the dose; 0 where there is none.
        context: [n, q] context vector of the line.
        bin: [n, b] one-hot bin.
    """

    x: np.ndarray
    present: np.ndarray
    log_dose: np.ndarray
    context: np.ndarray
    bin: np.ndarray


@dataclass(frozen=True, eq=False)
class ContextMap:
    """Projects what describes a line (its input profile by default) onto the components in which known lines differ.

    Attributes:
        mean_g: [g] mean description of the trained lines.
        direction_gq: [g, q] components, scaled to unit spread over the trained lines.
        range_2q: [2, q] least and greatest coordinate of a trained line. No line lies outside for the network: where known
            lines hardly differ, unit spread is a short way, and a new line would be sent hundreds of units off.
    """

    mean_g: np.ndarray
    direction_gq: np.ndarray
    range_2q: np.ndarray

    def transform(self, cell_line: np.ndarray, contexts: Contexts) -> np.ndarray:
        """[n, q] context vectors."""
        inside = (contexts.describing_cv[contexts.positions(cell_line)] - self.mean_g) @ self.direction_gq
        return np.clip(inside, *self.range_2q)


@dataclass(frozen=True, eq=False)
class Residual:
    """A trained residual.

    Attributes:
        config: Its choices.
        contexts: Contexts used where conditions bring none.
        features: Turns targets into vectors.
        context_map: Turns lines into vectors.
        direction_dg: [d, g] float32 orthonormal directions of the effect space.
        size: What unit outputs are multiplied by.
        weights: Parameter path -> array.
    """

    config: ResidualConfig
    contexts: Contexts
    features: FeatureMap
    context_map: ContextMap
    direction_dg: np.ndarray
    size: float
    weights: dict[str, np.ndarray]

    def delta(self, conditions: Conditions, bin_q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residual and interaction of each condition, both [q, g] float32."""
        from vc_model.anchored.network import forward

        batch = make_batch(conditions, bin_q, self.features, self.context_map, self.contexts)
        shape = (batch.x.shape[2], batch.context.shape[1], len(self.direction_dg))
        outputs = forward(shape, self.config, self.weights, batch)
        r1_qg, r2_qg = (np.asarray(out)[: len(conditions)] * self.size @ self.direction_dg for out in outputs)
        return r1_qg, r2_qg


def make_batch(
    conditions: Conditions, bin_q: np.ndarray, features: FeatureMap, context_map: ContextMap, contexts: Contexts
) -> ConditionArrays:
    """Arrays of the conditions, targets padded to the largest number of targets."""
    owner_r, singles = conditions.components()
    sizes = conditions.sizes
    slot_r = (
        np.arange(len(owner_r)) - np.concatenate([[0], np.cumsum(sizes)[:-1]])[owner_r] if len(owner_r) else owner_r
    )
    x_rf = features.transform(singles)
    shape = (len(conditions), max(1, int(sizes.max(initial=1))))
    x, present = np.zeros((*shape, x_rf.shape[1]), dtype=np.float32), np.zeros(shape, dtype=np.float32)
    x[owner_r, slot_r], present[owner_r, slot_r] = x_rf, 1
    dose = np.array([action.dose for action in conditions.actions], dtype=np.float32)
    return ConditionArrays(
        x=x,
        present=present,
        log_dose=np.log1p(dose),
        context=context_map.transform(conditions.cell_line, conditions.contexts_or(contexts)),
        bin=np.eye(len(BINS), dtype=np.float32)[bin_q],
    )


def make_context_map(table: EffectTable) -> ContextMap:
    """Components of the trained lines' input profiles, scaled to unit spread; none for a single line."""
    input_cg = table.contexts.describing_cv[table.contexts.positions(table.trained_lines)]
    mean_g = input_cg.mean(axis=0)
    _, sizes, directions = np.linalg.svd(input_cg - mean_g, full_matrices=False)
    keep = np.flatnonzero(sizes > 1e-5 * max(float(np.linalg.norm(mean_g)), 1e-12))[:N_CONTEXT]
    if len(keep) == 0:
        return ContextMap(mean_g, np.zeros((len(mean_g), 1), np.float32), np.zeros((2, 1), np.float32))
    spread = sizes[keep] / np.sqrt(len(input_cg))
    direction_gq = (directions[keep].T / spread).astype(np.float32)
    inside_cq = (input_cg - mean_g) @ direction_gq
    return ContextMap(mean_g, direction_gq, np.stack([inside_cq.min(axis=0), inside_cq.max(axis=0)]))


def train_residuals(
    table: EffectTable,
    conditions: Conditions,
    bin_m: np.ndarray,
    row_m: np.ndarray,
    error_mg: np.ndarray,
    weight_m: np.ndarray,
    held: list[tuple[np.ndarray, np.ndarray]],
    config: ResidualConfig,
) -> list[Residual]:
    """Train one residual per hold-out, all at once.

    Args:
        table: Training effects.
        conditions: m instances to learn from.
        bin_m: [m] their bins.
        row_m: [m] their rows of the table.
        error_mg: [m, g] measured effect minus out-of-fold stack, what the residual should give.
        weight_m: [m] noise-aware weights.
        held: Per fit the rows of the table and the instances it must not see, as masks [p] and [m].
        config: Choices.

    Returns:
        One trained residual per hold-out. Features are fitted on the rows a fit may see.
    """
    from vc_model.anchored.network import train_network

    context_map = make_context_map(table)
    fits = []
    for held_p, held_m in progress(held, desc="residual"):
        # Each fit has features, directions and scale from its own rows alone.
        seen = table if not held_p.any() else table.subset(~held_p)
        features = make_features(seen)
        direction_dg = _main_directions(seen, config.directions)
        use_m = np.where(held_m, 0, weight_m)
        target_md = error_mg @ direction_dg.T
        total = max(float(use_m.sum()), 1e-12)
        size = max(float(np.sqrt((use_m @ target_md**2).sum() / total / len(direction_dg))), 1e-6)
        batch = make_batch(conditions, bin_m, features, context_map, table.contexts)
        extra = _extra(table, held_p, row_m, error_mg, direction_dg, size, config.losses)
        fits.append((features, direction_dg, size, batch, target_md / size, use_m / total, extra))
    width = max(fit[3].x.shape[2] for fit in fits)
    depth = max(len(fit[1]) for fit in fits)
    batches = [fit[3] for fit in fits]
    stacked = ConditionArrays(
        x=np.stack([_widen(batch.x, width) for batch in batches]),
        present=batches[0].present,
        log_dose=batches[0].log_dose,
        context=batches[0].context,
        bin=batches[0].bin,
    )
    target_kmd = np.stack([_widen(fit[4], depth) for fit in fits]).astype(np.float32)
    weight_km = np.stack([fit[5] for fit in fits]).astype(np.float32)
    extras = [fit[6] for fit in fits]
    extra = {
        name: np.stack([_deepen(extra[name], depth, name) for extra in extras]).astype(np.float32) for name in extras[0]
    }
    trained = train_network((width, batches[0].context.shape[1], depth), config, stacked, target_kmd, weight_km, extra)
    residuals = []
    for at, (features, direction_dg, size, *_) in enumerate(fits):
        weights = {path: np.asarray(value[at]) for path, value in trained.items()}
        weights["feature/kernel"] = weights["feature/kernel"][: len(features.mean_f)]
        weights["readout"] = weights["readout"][:, : len(direction_dg)]
        residuals.append(Residual(config, table.contexts, features, context_map, direction_dg, size, weights))
    return residuals


def _extra(
    table: EffectTable,
    held_p: np.ndarray,
    row_m: np.ndarray,
    error_mg: np.ndarray,
    direction_dg: np.ndarray,
    size: float,
    losses: LossWeights,
) -> dict[str, np.ndarray]:
    """What losses other than the squared error need of one fit, from rows that it may see."""
    extra: dict[str, np.ndarray] = {}
    if losses.cosine or losses.contrastive:
        extra["stacked_md"] = (table.delta_pg[row_m] - error_mg) @ direction_dg.T / size
    if losses.contrastive:
        extra["line_m"], extra["condition_m"] = table.line_p[row_m], row_m
        # Held-out instances are neither asked nor offered as an answer.
        extra["seen_m"] = ~held_p[row_m]
    if losses.wmse:
        seen = np.flatnonzero(~held_p)
        weight_pg = np.zeros(table.delta_pg.shape, dtype=np.float32)
        weight_pg[seen] = de_weights(table.subset(seen))
        # Weights sum to one per condition; times genes over directions they weigh like the squared error.
        extra["gene_weight_mg"] = weight_pg[row_m] * np.float32(weight_pg.shape[1] / len(direction_dg))
        extra["error_mg"], extra["direction_dg"] = error_mg / size, direction_dg
    return extra


def _deepen(array: np.ndarray, depth: int, name: str) -> np.ndarray:
    """Pad directions with zeros, as far as the array has any."""
    if name == "stacked_md":
        return _widen(array, depth)
    return np.pad(array, [(0, depth - len(array)), (0, 0)]) if name == "direction_dg" else array


def _main_directions(table: EffectTable, n_directions: int) -> np.ndarray:
    """[d, g] orthonormal rows spanning the main training effects, found in the Gram space."""
    value_d, vector_pd = top_eigen(table.gram_pp, n_directions)
    if len(value_d) == 0:
        return np.zeros((1, len(table.genes)), dtype=np.float32)
    return (vector_pd / np.sqrt(value_d)).T.astype(np.float32) @ table.delta_pg


def _widen(array: np.ndarray, width: int) -> np.ndarray:
    """Pad the last axis with zeros."""
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, width - array.shape[-1])])
