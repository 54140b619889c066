"""What a step of training changes, and the step.

A `Stage` brings a pure loss over nested dicts of arrays; nothing here knows what it computes. Randomness of step k comes
from the run's seed folded with k alone, so a resumed run draws what an uninterrupted one would have.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vc_model.train.sharding import shard_parameters

Tree = dict[str, Any]
Metrics = dict[str, jax.Array]
LossFn = Callable[[Tree, Tree, dict[str, Any], jax.Array, jax.Array], tuple[jax.Array, Metrics]]


def keep_frozen(params: Tree, frozen: Tree) -> Tree:
    """What most stages do with what they do not train: nothing."""
    return frozen


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Attributes:
        name: For logs and folders.
        loss: (params, frozen, batch, key, progress) -> (float32 scalar, scalars by name); pure. `progress` is the share of
            the run's steps that are done. The scalars go to the log: what tells a healthy run from a collapsed one.
        follow: (params, frozen) -> frozen after each update, e.g. a teacher that follows the student.
    """

    name: str
    loss: LossFn
    follow: Callable[[Tree, Tree], Tree] = keep_frozen


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """All that a step reads and changes.

    Attributes:
        params: Trained arrays.
        frozen: Arrays that are not trained (a teacher, earlier stages).
        opt_state: Of the optimiser.
        step: Updates done, int32 scalar.
    """

    params: Tree
    frozen: Tree
    opt_state: Any
    step: jax.Array


def make_state(params: Tree, frozen: Tree, optimiser: optax.GradientTransformation, mesh: Mesh, n_genes: int):
    """Put a fresh state on the mesh.

    Args:
        params: Trained arrays, host or device.
        frozen: Arrays that are not trained.
        optimiser: Its state starts here.
        mesh: The devices.
        n_genes: Length of the gene axis, by which arrays are told apart.

    Returns:
        The state, and the shardings of its arrays as a state of the same form.
    """
    whole = NamedSharding(mesh, PartitionSpec())
    shards = {name: shard_parameters(tree, mesh, n_genes) for name, tree in (("p", params), ("f", frozen))}

    def start(params: Tree, frozen: Tree) -> TrainState:
        return TrainState(params, frozen, optimiser.init(params), jnp.zeros((), jnp.int32))

    shape = jax.eval_shape(start, params, frozen)
    opt_shards = optax.tree_utils.tree_map_params(
        cast("Any", optimiser),
        lambda _, shard: shard,
        shape.opt_state,
        shards["p"],
        transform_non_params=lambda _: whole,
    )
    shardings = TrainState(shards["p"], shards["f"], opt_shards, cast("Any", whole))
    # Through jit, so that no two arrays of the state share a buffer: the step gives its buffers away.
    return jax.jit(start, out_shardings=shardings)(params, frozen), shardings


def make_step(
    stage: Stage, optimiser: optax.GradientTransformation, shardings: TrainState, seed: int, total_steps: int
):
    """Compile the update.

    Args:
        stage: What to minimise.
        optimiser: How.
        shardings: Of the state, from `make_state`.
        seed: Root of the run's randomness.
        total_steps: Steps of the whole run.

    Returns:
        (state, batch) -> (state, metrics); the state given in is used up. Metrics hold `loss`, `grad_norm` and what the
        stage adds.
    """

    def step(state: TrainState, batch: Mapping[str, Any]) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        progress = state.step.astype(jnp.float32) / total_steps
        value_and_grad = jax.value_and_grad(stage.loss, has_aux=True)
        (loss, metrics), grads = value_and_grad(state.params, state.frozen, batch, key, progress)
        updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
        params = cast("Tree", optax.apply_updates(cast("Any", state.params), updates))
        metrics = {"loss": loss, "grad_norm": optax.global_norm(grads), **metrics}
        return TrainState(params, stage.follow(params, state.frozen), opt_state, state.step + 1), metrics

    return jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))
