"""AdamW on the one-cycle schedule, with a global-norm clip, a decay mask and a rate per group of parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import optax

from vc_model.errors import TrainingError
from vc_model.train.schedule import one_cycle_beta1, one_cycle_rate


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Choices of the optimiser."""

    peak_rate: float
    """Highest learning rate of the cycle."""
    weight_decay: float = 0.05
    """Of AdamW, times the rate."""
    clip_norm: float | None = 1.0
    """Gradients are scaled down to this global norm; None leaves them."""
    rate_scale: Mapping[str, float] = field(default_factory=dict)
    """Top-level group of parameters -> what its rate is multiplied by (1 where not named)."""
    beta2: float = 0.999
    """Second Adam decay."""
    epsilon: float = 1e-8
    """Of Adam."""


def make_optimiser(
    config: OptimiserConfig, total_steps: int, params: Mapping[str, Any], decay: Any = None
) -> optax.GradientTransformation:
    """Build the optimiser of a run.

    Args:
        config: Its choices.
        total_steps: Steps of the whole run.
        params: The parameters, nested dicts; only their names are used.
        decay: Tree of bool like `params`, true where weights decay; everything by default.

    Raises:
        TrainingError: If `rate_scale` names a group that is not there.
    """
    unknown = sorted(set(config.rate_scale) - set(params))
    if unknown:
        raise TrainingError(f"rate_scale: expected some of the groups {sorted(params)}, found {unknown}.")
    scale = {group: _fill(tree, config.rate_scale.get(group, 1.0)) for group, tree in params.items()}
    adamw = optax.inject_hyperparams(
        optax.adamw, static_args=("b2", "eps", "weight_decay", "mask"), hyperparam_dtype=jax.numpy.dtype("float32")
    )(
        learning_rate=one_cycle_rate(config.peak_rate, total_steps),
        b1=one_cycle_beta1(total_steps),
        b2=config.beta2,
        eps=config.epsilon,
        weight_decay=config.weight_decay,
        mask=decay,
    )
    parts: list[optax.GradientTransformation] = (
        [] if config.clip_norm is None else [optax.clip_by_global_norm(config.clip_norm)]
    )
    parts.append(adamw)
    if config.rate_scale:
        parts.append(optax.stateless(lambda updates, _: jax.tree.map(lambda u, s: u * s, updates, scale)))
    return optax.chain(*parts)


def _fill(tree: Any, value: float) -> Any:
    return jax.tree.map(lambda _: value, tree)
