"""The one-cycle schedule: learning rate up and down once, beta1 the other way round.

Both are what torch's `OneCycleLR` gives at the same step with `pct_start=0.05` and its other defaults; the published run
cycles beta1 because that is the default there (model A9).
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

Schedule = Callable[[Array | int], Array]

WARMUP_SHARE = 0.05
START_DIVISOR = 25.0  # first rate = peak / 25
END_DIVISOR = 25e4  # last rate = peak / 250,000
BETA1_HIGH, BETA1_LOW = 0.95, 0.85


def one_cycle_rate(peak: float, total_steps: int) -> Schedule:
    """Learning rate: 5 % cosine warm-up from peak / 25, then cosine to peak / 250,000.

    Args:
        peak: Highest rate.
        total_steps: Steps of the whole run; the last value is reached at `total_steps - 1`.
    """
    return _one_cycle(peak / START_DIVISOR, peak, peak / END_DIVISOR, total_steps)


def one_cycle_beta1(total_steps: int) -> Schedule:
    """First Adam decay: 0.95 -> 0.85 while the rate rises, back to 0.95 while it falls."""
    return _one_cycle(BETA1_HIGH, BETA1_LOW, BETA1_HIGH, total_steps)


def _one_cycle(start: float, middle: float, end: float, total_steps: int) -> Schedule:
    turn = WARMUP_SHARE * total_steps - 1  # below 0 in runs of under 20 steps, which then start on the way down
    last = total_steps - 1

    def value(step: Array | int) -> Array:
        step = jnp.minimum(jnp.asarray(step, jnp.float32), last)
        rising = _cosine(start, middle, step / turn if turn > 0 else jnp.ones_like(step))
        falling = _cosine(middle, end, (step - turn) / max(last - turn, 1e-9))
        return jnp.where(step <= turn, rising, falling) if turn > 0 else falling

    return value


def _cosine(start: float, end: float, share: Array) -> Array:
    return end + (start - end) / 2 * (1 + jnp.cos(jnp.pi * share))
