"""Which mesh axis each logical axis of an array is cut along, in one table.

Model code names axes by what they mean (`batch`, `gene`, ...) and never by devices. A mesh has three axes: `data` cuts
the batch, `fsdp` cuts the batch too and the large side of parameters and optimiser state, `gene` cuts the genes of
every cell. Without a mesh, `constrain` does nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
from jax.sharding import AxisType, Mesh, PartitionSpec

MESH_AXES = ("data", "fsdp", "gene")


@dataclass(frozen=True)
class Rules:
    """Logical axis -> mesh axes."""

    batch: tuple[str, ...] = ("data", "fsdp")
    gene: tuple[str, ...] = ("gene",)
    width: tuple[str, ...] = ()
    """Of activations."""
    param: tuple[str, ...] = ("fsdp",)
    """The side of a parameter that is cut."""

    def spec(self, axes: Sequence[str | None]) -> PartitionSpec:
        """Partition of an array whose axes mean this.

        Raises:
            ValueError: If two axes would be cut along one mesh axis.
        """
        parts = [() if axis is None else getattr(self, axis) for axis in axes]
        used = [name for part in parts for name in part]
        if len(set(used)) < len(used):
            raise ValueError(f"sharding: axes {tuple(axes)} would all be cut along {used}. Change the table of rules.")
        return PartitionSpec(*(part or None for part in parts))


RULES = Rules()


def make_mesh(data: int = 1, fsdp: int = 1, gene: int = 1) -> Mesh:
    """A mesh over the first data * fsdp * gene devices; use it with `with jax.set_mesh(mesh):`."""
    devices = jax.devices()[: data * fsdp * gene]
    return jax.make_mesh((data, fsdp, gene), MESH_AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """State how an array is cut, one logical axis name (or None) per axis."""
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, RULES.spec(axes))
