"""Where the arrays of a run lie: `vc_model.train.rules.RULES`, the one table, applied to parameters and batches.

Losses are written for the whole batch, so the compiler adds the sums over devices: statistics of a batch are those of the
global batch on any mesh. Linear attention reduces over genes to a state that does not grow with them, which is why a `gene`
axis costs little (model F4).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vc_model.errors import TrainingError
from vc_model.train.rules import MESH_AXES, RULES

Axes = tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """How many devices along each axis; their product is the number of devices used."""

    data: int = 1
    """Copies of the model that share a batch; processes are laid along this axis first."""
    fsdp: int = 1
    """Devices that share a batch and also the parameters and the optimiser's state."""
    gene: int = 1
    """Devices that share the genes of each cell."""


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Lay devices out as a mesh.

    Args:
        config: Its shape.
        devices: Which; by default the first so many of all processes' devices.

    Raises:
        TrainingError: If there are not as many devices, or several processes would share the genes of a cell.
    """
    devices = list(jax.devices() if devices is None else devices)
    shape = (config.data, config.fsdp, config.gene)
    wanted = int(np.prod(shape))
    if min(shape) < 1 or wanted > len(devices) or (jax.process_count() > 1 and wanted != len(devices)):
        raise TrainingError(
            f"mesh: expected sizes >= 1 whose product is the number of devices ({len(devices)}), found "
            f"{dict(zip(MESH_AXES, shape, strict=True))}. Change the sizes."
        )
    if (config.data * config.fsdp) % jax.process_count():
        raise TrainingError(
            f"mesh: expected data x fsdp to be a multiple of the {jax.process_count()} processes, found "
            f"{config.data} x {config.fsdp}. Let each process hold whole cells."
        )
    return Mesh(np.array(devices[:wanted]).reshape(shape), MESH_AXES)


def make_spec(axes: Axes, mesh: Mesh, shape: Sequence[int] | None = None) -> PartitionSpec:
    """Where the axes of an array lie.

    Args:
        axes: A logical axis, or None for an axis that every device holds whole, per axis of the array.
        mesh: The mesh.
        shape: Sizes; an axis that its devices do not divide evenly stays whole. None skips this.

    Raises:
        TrainingError: If a logical axis is unknown.
        ValueError: If two axes of the array claim the same mesh axis.
    """
    known = asdict(RULES)
    unknown = sorted({name for name in axes if name is not None} - set(known))
    if unknown:
        raise TrainingError(f"sharding: expected logical axes {sorted(known)}, found {unknown}.")
    if shape is not None:
        sizes = [int(np.prod([mesh.shape[axis] for axis in known.get(name or "", ())])) for name in axes]
        axes = tuple(None if size % cut else name for name, size, cut in zip(axes, shape, sizes, strict=True))
    return RULES.spec(axes)


def parameter_axes(shape: Sequence[int], n_genes: int) -> Axes:
    """Logical axes of a parameter: the first axis as long as the gene axis is `gene`, the last of several else `param`.

    Args:
        shape: Of the parameter.
        n_genes: Length of the gene axis.
    """
    axes: list[str | None] = [None] * len(shape)
    if n_genes in shape:
        axes[list(shape).index(n_genes)] = "gene"
    if len(shape) > 1 and axes[-1] is None:
        axes[-1] = "param"
    return tuple(axes)


def batch_axes(name: str, shape: Sequence[int]) -> Axes:
    """Logical axes of an array of a batch: cells first; expression (`x`, `x_*`) and `measured` end in genes.

    `gene`, which genes a batch holds, is whole everywhere.
    """
    if name == "gene":
        return (None,)
    if name == "measured" and len(shape) == 1:
        return ("gene",)
    per_gene = name == "x" or name.startswith("x_") or name == "measured"
    return ("batch", *(None,) * (len(shape) - 2), "gene") if per_gene else ("batch", *(None,) * (len(shape) - 1))


def shard_parameters(tree: Any, mesh: Mesh, n_genes: int) -> Any:
    """Shardings of a tree of parameters, as a tree of the same form."""
    return jax.tree.map(
        lambda leaf: NamedSharding(mesh, make_spec(parameter_axes(leaf.shape, n_genes), mesh, leaf.shape)), tree
    )


def put_batch(batch: Mapping[str, Any], mesh: Mesh) -> dict[str, Any]:
    """Put a host batch on the mesh; each process gives its own share of the cells.

    Raises:
        TrainingError: If the cells or genes cannot be dealt out evenly.
    """

    def put(path: tuple, array: np.ndarray) -> jax.Array:
        name = str(path[-1].key)
        axes = batch_axes(name, array.shape)
        spec = make_spec(axes, mesh)
        for at, on in enumerate(spec):
            devices = int(np.prod([mesh.shape[axis] for axis in ((on,) if isinstance(on, str) else on or ())]))
            size = array.shape[at] * (jax.process_count() if axes[at] == "batch" else 1)
            if size % devices:
                raise TrainingError(
                    f"batch: {name!r}: expected a {axes[at]} axis that {devices} devices divide evenly, found {size}. "
                    "Change the batch size, the number of genes or the mesh."
                )
        return jax.make_array_from_process_local_data(NamedSharding(mesh, spec), array)

    return jax.tree_util.tree_map_with_path(put, dict(batch))


def fetch(tree: Any) -> Any:
    """Arrays of a mesh as numpy arrays, whole in every process."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, tree)
    from jax.experimental import multihost_utils

    return jax.tree.map(np.asarray, multihost_utils.process_allgather(tree, tiled=True))


def count_cells(batch: Mapping[str, Any]) -> int:
    """Cells in a batch, over all processes."""
    return next(
        int(leaf.shape[0])
        for path, leaf in jax.tree_util.tree_leaves_with_path(dict(batch))
        if batch_axes(str(path[-1].key), leaf.shape)[0] == "batch"
    )
