"""What one CPU wants otherwise. Elsewhere every function here is its plain counterpart; the numbers are the same to rounding.

A CPU is soon busy, and then waits for memory: what is small enough stays in its caches.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

CPU_TOKENS = 1024
"""Tokens that a CPU takes at once."""


def on_cpu() -> bool:
    """Whether programs are made for CPUs."""
    return jax.default_backend() == "cpu"


def on_one_cpu() -> bool:
    """Whether they are made for one, and no mesh cuts their arrays."""
    return on_cpu() and jax.sharding.get_abstract_mesh().size < 2


def few_cells(function: Callable[..., Any], cells: tuple[Any, ...], n_tokens: int) -> Any:
    """`function(*cells)`, where a CPU is given a few cells at a time.

    An accelerator and devices that share the cells are given all at once, a CPU about a thousand tokens (`CPU_TOKENS`), at
    least one cell: that is enough work for it, and more only takes memory.

    Args:
        function: Computes every cell by itself, [b, ...] arrays in and out.
        cells: Its arguments, trees of [b, ...] arrays.
        n_tokens: Of one cell.
    """
    n_cells = jax.tree.leaves(cells)[0].shape[0]
    most = max(1, CPU_TOKENS // n_tokens)
    if not on_one_cpu() or most >= n_cells:
        return function(*cells)
    few = max(n for n in range(1, most + 1) if n_cells % n == 0)
    turns = jax.tree.map(lambda u: u.reshape(n_cells // few, few, *u.shape[1:]), cells)
    found = jax.lax.map(lambda turn: function(*turn), turns)
    return jax.tree.map(lambda u: u.reshape(n_cells, *u.shape[2:]), found)


def run_layers(layer: Callable[[Array, Any], Array], h: Array, params: dict[str, Array]) -> Array:
    """Apply a layer once for every entry of the leading axis of its parameters.

    An accelerator runs one program of a layer in a loop. A CPU gets all layers as one program: a loop first fills what is
    kept for the backward pass with zeros and then copies into it, layer by layer.
    """
    if not on_one_cpu():
        return jax.lax.scan(lambda h, p: (layer(h, p), None), h, params)[0]
    n_layers = jax.tree.leaves(params)[0].shape[0]
    # The gradient of a split is one concatenation.
    split = {name: jax.lax.split(leaf, [1] * n_layers) for name, leaf in params.items()}
    for at in range(n_layers):
        h = layer(h, {name: leaves[at][0] for name, leaves in split.items()})
    return h


def product(x: Float[Array, "*b i"], kernel: Float[Array | np.ndarray, "i o"]) -> Float[Array, "*b o"]:
    """X W in the type of x. On CPUs its gradient X^T dY rearranges the narrower of the two factors."""
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
        # XLA would rearrange the first factor, whichever it is, and both for some shapes.
        first = jax.lax.optimization_barrier(jnp.moveaxis(narrow, -1, 0))
        return jnp.tensordot(first, wide, axes=([axis + 1 for axis in all_but_last], all_but_last))

    dx = dy @ kernel.T
    return dx, contract(x, dy) if x.shape[-1] <= dy.shape[-1] else contract(dy, x).T


_product.defvjp(_forward, _backward)
