"""Variants of three operations that are faster on a single CPU.

On accelerators and on meshes of several devices every function here does the plain operation. Both variants compute the same
numbers up to rounding. On a CPU, memory bandwidth is the bottleneck, so working sets are kept small enough for its caches.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

CPU_TOKENS = 1024
"""Tokens in one micro-batch on a CPU."""


def on_cpu() -> bool:
    """Whether JAX compiles for CPUs."""
    return jax.default_backend() == "cpu"


def on_one_cpu() -> bool:
    """Whether JAX compiles for a single CPU, with no mesh that shards arrays."""
    return on_cpu() and jax.sharding.get_abstract_mesh().size < 2


def few_cells(function: Callable[..., Any], cells: tuple[Any, ...], n_tokens: int) -> Any:
    """Compute `function(*cells)`; on a single CPU in micro-batches of about `CPU_TOKENS` tokens, at least one cell each.

    That many tokens already keep a CPU busy, and larger batches only take more memory. Accelerators and meshes get the whole
    batch at once.

    Args:
        function: Treats cells independently of each other; [b, ...] arrays in and out.
        cells: Its arguments, trees of [b, ...] arrays.
        n_tokens: Number of tokens of one cell.
    """
    n_cells = jax.tree.leaves(cells)[0].shape[0]
    most = max(1, CPU_TOKENS // n_tokens)
    if not on_one_cpu() or most >= n_cells:
        return function(*cells)
    size = max(n for n in range(1, most + 1) if n_cells % n == 0)
    micro_batches = jax.tree.map(lambda u: u.reshape(n_cells // size, size, *u.shape[1:]), cells)
    found = jax.lax.map(lambda micro_batch: function(*micro_batch), micro_batches)
    return jax.tree.map(lambda u: u.reshape(n_cells, *u.shape[2:]), found)


def run_layers(layer: Callable[[Array, Any], Array], h: Array, params: dict[str, Array]) -> Array:
    """Apply a layer once for every entry of the leading axis of its parameters.

    On accelerators this is a loop (`jax.lax.scan`). On a single CPU the loop is unrolled: a loop allocates the activations that
    the backward pass needs as zeros and then copies every layer's into them, which costs memory bandwidth.
    """
    if not on_one_cpu():
        return jax.lax.scan(lambda h, p: (layer(h, p), None), h, params)[0]
    n_layers = jax.tree.leaves(params)[0].shape[0]
    # The gradient of a split is a single concatenation; that of indexing would be one scatter per layer.
    split = {name: jax.lax.split(leaf, [1] * n_layers) for name, leaf in params.items()}
    for at in range(n_layers):
        h = layer(h, {name: leaves[at][0] for name, leaves in split.items()})
    return h


def product(x: Float[Array, "*b i"], kernel: Float[Array | np.ndarray, "i o"]) -> Float[Array, "*b o"]:
    """The product X W in the data type of x; on a single CPU with a faster gradient with respect to W, X^T dY.

    Computing X^T dY transposes one of its factors in memory; here that is the narrower one.
    """
    kernel = kernel.astype(x.dtype)
    return _product(x, kernel) if on_one_cpu() else x @ kernel


@jax.custom_vjp
def _product(x: Array, kernel: Array) -> Array:
    return x @ kernel


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ kernel, (x, kernel)


def _backward(kept: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = kept
    all_but_last = list(range(x.ndim - 1))

    def contract(narrow: Array, wide: Array) -> Array:
        # Left to itself, XLA transposes the first factor, whichever it is, and for some shapes both.
        first = jax.lax.optimization_barrier(jnp.moveaxis(narrow, -1, 0))
        return jnp.tensordot(first, wide, axes=([axis + 1 for axis in all_but_last], all_but_last))

    dx = dy @ kernel.T
    return dx, contract(x, dy) if x.shape[-1] <= dy.shape[-1] else contract(dy, x).T


_product.defvjp(_forward, _backward)
