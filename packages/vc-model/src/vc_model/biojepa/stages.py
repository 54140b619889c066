"""The four training stages as pure functions, and what each one starts from.

    loss_fn(params, frozen, batch, key, progress) -> (loss, metrics)

`params` and `frozen` are nested dicts of arrays, part -> parameters: what a stage trains and what it only reads.

| stage | params | frozen | batch |
|---|---|---|---|
| pretrain | encoder, maskpred | teacher | x, total, measured |
| align | composer | | action |
| ac | predictor, composer | student, teacher | x_control, x_case, total_control, total_case, measured, action |
| decode | decoder | student, teacher, predictor, composer | the same, x_effect |

x: [b, g] log1p CP10k; x_effect: [b, g] measured effect of the case's condition (repaired); total: [b] log1p of the raw
total count; measured: [g] or [b, g] bool; the action's arrays (`composer.ACTION_KEYS`) stand in the batch beside them.
`progress` in [0, 1] is step / steps of the stage. Where the model learns from conditions (`BioJepaConfig.by_condition`), the
last two stages read no cells:

| ac | predictor, composer, decoder | | z, z_goal, x_goal, gene, weight_latent, weight_effect, action |
| decode | decoder | predictor, composer | the same |

z: [b, k, d] latents to start from; z_goal: [b, k, d] their change; x_goal: [b, k] measured effect; gene: [k] which genes.

Published (v0.6), the context of the last two stages comes from the student and the target from the teacher; repaired and
in v1.0, both come from the teacher (Q8), only measured genes count (Q7), the loss is on all of them, and whole cells are seen
in training, too (Q6): at the end of the action stage and, repaired, throughout pretraining.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vc_model.biojepa import losses
from vc_model.biojepa.composer import ActionComposer
from vc_model.biojepa.config import BioJepaConfig, Part, Stage
from vc_model.biojepa.cpu import few_cells
from vc_model.biojepa.encoder import CellStateEncoder, MaskedPredictor, Tokens, cell_vector, room_for
from vc_model.biojepa.layers import Draw
from vc_model.biojepa.predictor import ACPredictor, ExpressionDecoder

Tree = dict[str, Any]
Metrics = dict[str, Array]
LossFn = Callable[[Tree, Tree, dict[str, Array], Array, Array], tuple[Array, Metrics]]

MODULES: dict[Part, Callable[..., nnx.Module]] = {
    "encoder": CellStateEncoder,
    "maskpred": MaskedPredictor,
    "predictor": ACPredictor,
    "composer": ActionComposer,
    "decoder": ExpressionDecoder,
}
NOT_COUNTED = "fourier"
"""The one leaf that is no trainable parameter."""


def init_part(part: Part, cfg: BioJepaConfig, seed: int) -> Tree:
    """Fresh parameters of one part as a nested dict of float32 arrays; the same part and seed give the same bytes."""
    return nnx.to_pure_dict(nnx.state(MODULES[part](cfg, draw=Draw((seed, list(MODULES).index(part))))))


def bind(part: Part, cfg: BioJepaConfig, params: Tree) -> Any:
    """The module of a part with these parameters, an instance of `MODULES[part]`; inside a jitted function this costs nothing."""
    graph, state = _abstract(part, cfg)
    state = jax.tree.map(lambda leaf: leaf, state)
    nnx.replace_by_pure_dict(state, params)
    return nnx.merge(graph, state)


@lru_cache(maxsize=64)
def _abstract(part: Part, cfg: BioJepaConfig) -> tuple[nnx.GraphDef, nnx.State]:
    return nnx.split(nnx.eval_shape(lambda: MODULES[part](cfg, draw=Draw(None))))


def init_stage(stage: Stage, cfg: BioJepaConfig, seed: int, previous: Tree) -> tuple[Tree, Tree]:
    """What a stage trains and what it reads.

    Args:
        stage: Which.
        cfg: The model.
        seed: Draws parts that are not in `previous`.
        previous: Trained parts by name: `encoder`, `teacher`, `maskpred`, `composer`, `predictor`, `decoder`.

    Raises:
        KeyError: If the stage needs a trained part that is not there.
    """

    def start(part: Part) -> Tree:
        return previous[part] if part in previous else init_part(part, cfg, seed)

    def need(part: str) -> Tree:
        if part not in previous:
            raise KeyError(f"stage {stage}: previous: expected a trained {part!r}, found {sorted(previous)}.")
        return previous[part]

    if stage == "pretrain":
        encoder = start("encoder")
        # A copy: the engine donates the buffers of what it trains.
        teacher = jax.tree.map(jnp.copy, previous.get("teacher", encoder))
        return {"encoder": encoder, "maskpred": start("maskpred")}, {"teacher": teacher}
    if stage == "align":
        return {"composer": start("composer")}, {}
    cells = {"student": need("encoder"), "teacher": need("teacher")}
    if cfg.by_condition:
        cells = {}
    if stage == "ac":
        parts = {"predictor": start("predictor"), "composer": start("composer")}
        return parts | ({"decoder": start("decoder")} if cfg.by_condition else {}), cells
    return {"decoder": start("decoder")}, cells | {"predictor": need("predictor"), "composer": need("composer")}


def ema_update(teacher: Tree, student: Tree, momentum: float | Array) -> Tree:
    """Momentum * teacher + (1 - momentum) * student."""
    return jax.tree.map(lambda t, s: momentum * t + (1 - momentum) * s, teacher, student)


def decay_mask(params: Tree, cfg: BioJepaConfig) -> Tree:
    """Which leaves get weight decay: published, all that are trained (Q11); repaired, matrices of linear layers."""

    def decays(path: tuple, _: Array) -> bool:
        name = path[-1].key
        trained = name != NOT_COUNTED or cfg.has_equal_tokens
        return (cfg.faithful and trained) or name.endswith("kernel")

    return jax.tree_util.tree_map_with_path(decays, params)


def make_loss(stage: Stage, cfg: BioJepaConfig) -> LossFn:
    """The loss of a stage; see the top of the file."""
    functions = {"pretrain": pretrain_loss, "align": align_loss, "ac": ac_loss, "decode": decode_loss}
    if cfg.by_condition:
        functions |= {"ac": partial(condition_loss, latents=True), "decode": partial(condition_loss, latents=False)}
    return partial(functions[stage], cfg)


def mask_ratio(cfg: BioJepaConfig, stage: Stage, key: Array, progress: Array) -> Array:
    """Share of hidden genes: constant, or linear to the floor over the last `mask_anneal` of the action stage.

    Repaired pretraining draws it for each update, so whole cells, as in use, are seen throughout: where they only came
    last, at a rate near 0, vectors of whole cells collapsed.
    """
    if stage == "pretrain":
        return jnp.float32(cfg.mask_ratio) * (1.0 if cfg.faithful else jax.random.uniform(key))
    floor = 0.1 if cfg.has_equal_tokens else 0.0
    late = jnp.clip((progress - (1 - cfg.mask_anneal)) / cfg.mask_anneal, 0, 1)
    return cfg.mask_ratio * (1 - late) + floor * late


def draw_mask(cfg: BioJepaConfig, stage: Stage, key: Array, x: Array, progress: Array) -> Array:
    """[b, g] bool, genes hidden from the encoder.

    Repaired pretraining hides the same genes in all cells of an update: what differs between cell vectors is then not
    what happens to be hidden.
    """
    ratio = mask_ratio(cfg, stage, jax.random.fold_in(key, 1), progress)
    shared = stage == "pretrain" and not cfg.faithful
    return jnp.broadcast_to(jax.random.bernoulli(key, ratio, (1, x.shape[1]) if shared else x.shape), x.shape)


def pretrain_loss(
    cfg: BioJepaConfig, params: Tree, frozen: Tree, batch: dict[str, Array], key: Array, progress: Array
) -> tuple[Float[Array, ""], Metrics]:
    """Predict the teacher's latents of the whole cell from a cell with most genes hidden."""
    x, total, measured = batch["x"], batch["total"], _measured(cfg, batch["x"], batch)
    mask_key, direction_key = jax.random.split(key)
    masked = draw_mask(cfg, "pretrain", mask_key, x, progress)
    teacher, encoder = bind("encoder", cfg, frozen["teacher"]), bind("encoder", cfg, params["encoder"])
    maskpred = bind("maskpred", cfg, params["maskpred"])

    def predict(x: Array, total: Array, masked: Array, measured: Array | None) -> tuple:
        target = jax.lax.stop_gradient(teacher.tokens(x, total, measured=measured))
        student = encoder.tokens(x, total, masked=masked, measured=measured, shown=1 - cfg.mask_ratio)
        pred = student.spread(maskpred(student.z, student.weight))
        cell = cell_vector(student.z, student.weight if cfg.has_equal_tokens else measured)
        return losses.l1(pred, target.spread(target.z)), cell, (student, target) if cfg.faithful else None

    n_tokens = cfg.n_genes if cfg.room is None else room_for(cfg.room, 1 - cfg.mask_ratio)
    distance, cell, latents = few_cells(predict, (x, total, masked, measured), n_tokens)
    sim = losses.masked_mean(distance, masked if cfg.has_equal_tokens else measured)
    metrics = {"loss_sim": sim, "mask_share": masked.mean()} | _collapse(cell)
    metrics["teacher_drift"] = _distance(params["encoder"], frozen["teacher"])
    if cfg.faithful:
        parts = _vic(*latents)
        return cfg.sim * sim + cfg.std * parts["loss_std"] + cfg.cov * parts["loss_cov"], metrics | parts
    assert measured is not None, "a repaired model counts measured genes only"
    n_genes = measured.sum(axis=1, keepdims=True)
    # A mean over genes of what differs from gene to gene is that much smaller than a latent.
    cell = losses.beyond_depth(cell, total) * jnp.sqrt(n_genes.astype(jnp.float32))
    spread = losses.sigreg(cell, direction_key, cfg.sigreg_directions)
    metrics |= {"loss_sigreg": spread, "cell_rank_beyond_depth": losses.participation(cell)}
    return cfg.sim * sim + cfg.sigreg * spread, metrics


def align_loss(
    cfg: BioJepaConfig, params: Tree, frozen: Tree, batch: dict[str, Array], key: Array, progress: Array
) -> tuple[Float[Array, ""], Metrics]:
    """Find each sequence's own target among the targets of the batch."""
    composer = bind("composer", cfg, params["composer"])
    seq, target = composer.embed_paths(batch)
    loss = losses.info_nce(seq, target, composer.tau)
    return loss, {"loss_nce": loss, "tau": composer.tau, "seq_rank": losses.participation(seq)}


def ac_loss(
    cfg: BioJepaConfig, params: Tree, frozen: Tree, batch: dict[str, Array], key: Array, progress: Array
) -> tuple[Float[Array, ""], Metrics]:
    """Predict the latents of a perturbed cell from a control cell and the action, with their variance."""
    measured = _measured(cfg, batch["x_control"], batch)
    mask_key, drop_key = jax.random.split(key)
    masked = draw_mask(cfg, "ac", mask_key, batch["x_control"], progress)
    teacher, predictor = bind("encoder", cfg, frozen["teacher"]), bind("predictor", cfg, params["predictor"])
    action = bind("composer", cfg, params["composer"])(batch, key=drop_key)
    beta = cfg.beta_nll * jnp.clip(progress / cfg.beta_warmup, 0, 1)

    def predict(cells: dict[str, Array], action: Array, masked: Array, measured: Array | None) -> tuple:
        context = _context(cfg, frozen, cells, masked, measured)
        target = jax.lax.stop_gradient(teacher(cells["x_case"], cells["total_case"], measured=measured))
        mu, logvar = predictor(context.z, action, cells["pert_mask"], context.weight)
        nll = losses.gaussian_nll(mu, logvar, target, beta)
        kept = (mu, target) if cfg.faithful else None
        return nll, losses.l1(mu, target), logvar.mean(axis=(1, 2)), cell_vector(mu, measured), kept

    cells = _cells(batch)
    nll, distance, logvar, cell, latents = few_cells(predict, (cells, action, masked, measured), cfg.n_genes)
    where = masked if cfg.has_equal_tokens else measured
    nll = losses.masked_mean(nll, where)
    metrics = {"loss_nll": nll, "loss_l1": losses.masked_mean(distance, where), "logvar": logvar.mean()}
    metrics |= {"mask_share": masked.mean()} | _collapse(cell)
    if not cfg.faithful:
        # The targets are frozen, so nothing can collapse and no term is needed to hold it up.
        return nll, metrics
    parts = _vic(*(Tokens(z) for z in latents))
    return cfg.sim * nll + cfg.std * parts["loss_std"] + cfg.cov * parts["loss_cov"], metrics | parts


def decode_loss(
    cfg: BioJepaConfig, params: Tree, frozen: Tree, batch: dict[str, Array], key: Array, progress: Array
) -> tuple[Float[Array, ""], Metrics]:
    """Read the change of expression off the change of latents; nothing is hidden.

    Published, the target is one perturbed cell less one control cell. Repaired, it is the measured effect of the condition:
    the best prediction of a random pair also says how the control cell differs from the mean of its line, and what single
    cells differ by at random is many times an effect.
    """
    measured = _measured(cfg, batch["x_control"], batch)
    action = bind("composer", cfg, frozen["composer"])(batch)
    predictor, decoder = bind("predictor", cfg, frozen["predictor"]), bind("decoder", cfg, params["decoder"])

    def change(cells: dict[str, Array], action: Array, measured: Array | None) -> Array:
        context = _context(cfg, frozen, cells, None, measured)
        mu, _ = predictor(context.z, action, cells["pert_mask"], context.weight)
        return decoder(jax.lax.stop_gradient(mu)) - context.spread(decoder(context.z))

    delta = few_cells(change, (_cells(batch), action, measured), cfg.n_genes)
    target = batch["x_case"] - batch["x_control"] if cfg.faithful else batch["x_effect"]
    loss = losses.masked_mean((delta - target) ** 2, measured)
    return loss, {"loss_mse": loss, "delta_size": jnp.sqrt(losses.masked_mean(delta**2, measured))}


def condition_loss(
    cfg: BioJepaConfig,
    params: Tree,
    frozen: Tree,
    batch: dict[str, Array],
    key: Array,
    progress: Array,
    *,
    latents: bool,
) -> tuple[Float[Array, ""], Metrics]:
    """Predict how mean latents of conditions change, and through the decoder their measured effects.

    Squared errors in units of what no change costs, weighted by the cells behind each condition.

    Args:
        cfg: The model.
        params: What is trained.
        frozen: What is only read.
        batch: Conditions.
        key: Draws the dropout of the action.
        progress: Not used.
        latents: Whether latents count (action stage) or the measured effects alone (decoder).
    """
    parts = params | frozen
    predictor, decoder = (bind(part, cfg, parts[part]) for part in ("predictor", "decoder"))
    action = bind("composer", cfg, parts["composer"])(batch, key=key if latents else None)
    gene = batch["gene"]

    def errors(rows: dict[str, Array], action: Array) -> tuple[Array, Array]:
        mu, _ = predictor(rows["z"], action, rows["pert_mask"], gene=gene)
        change = decoder(mu, gene) - decoder(rows["z"], gene)
        latent = (mu - rows["z"] - rows["z_goal"]) ** 2
        return latent.mean(axis=(1, 2)), ((change - rows["x_goal"]) ** 2).mean(axis=1)

    rows = {name: batch[name] for name in ("z", "z_goal", "x_goal", "pert_mask")}
    latent, effect = few_cells(errors, (rows, action), batch["z"].shape[1])
    metrics = {
        "loss_latent": (batch["weight_latent"] * latent).mean(),
        "loss_effect": (batch["weight_effect"] * effect).mean(),
    }
    return latents * metrics["loss_latent"] + metrics["loss_effect"], metrics


def _cells(batch: dict[str, Array]) -> dict[str, Array]:
    """What a batch of pairs says of its cells."""
    return {name: batch[name] for name in ("x_control", "x_case", "total_control", "total_case", "pert_mask")}


def _context(
    cfg: BioJepaConfig, frozen: Tree, cells: dict[str, Array], masked: Array | None, measured: Array | None
) -> Tokens:
    encoder = bind("encoder", cfg, frozen[cfg.reader])
    tokens = encoder.tokens(cells["x_control"], cells["total_control"], masked=masked, measured=measured)
    return jax.lax.stop_gradient(tokens)


def _measured(cfg: BioJepaConfig, x: Array, batch: dict[str, Array]) -> Array | None:
    """[b, g] bool; None in the published v0.6, where unmeasured genes count like measured ones."""
    return jnp.broadcast_to(batch["measured"], x.shape) if cfg.knows_unmeasured else None


def _vic(z: Tokens, target: Tokens) -> Metrics:
    (std, cov), (target_std, target_cov) = (losses.vicreg(u.z, u.weight) for u in (z, target))
    return {"loss_std": std + target_std, "loss_cov": cov + target_cov}


def _collapse(cell: Float[Array, "b d"]) -> Metrics:
    """What tells a collapse: effective rank and spread of cell vectors."""
    return {"cell_rank": losses.participation(cell), "cell_std": cell.std(axis=0).mean()}


def _distance(a: Tree, b: Tree) -> Array:
    """Relative distance of two parameter trees."""
    square = jax.tree.map(lambda u, v: jnp.stack([((u - v) ** 2).sum(), (v**2).sum()]), a, b)
    top, bottom = sum(jax.tree.leaves(square), start=jnp.zeros(2))
    return jax.lax.stop_gradient(jnp.sqrt(top / bottom))
