"""`vc-model latents`: activations of a fitted model at a named site, for vc-interp."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from vc_model.predictor import Fitted
    from vc_model.table.effects import Conditions

PARTS = ("train", "val", "test")


def latents(
    checkpoint: tyro.conf.Positional[Path],
    screen: tyro.conf.Positional[Path],
    splits: tyro.conf.Positional[Path],
    out: tyro.conf.Positional[Path],
    site: str = "",
    part: tuple[str, ...] = PARTS,
    cells: int = 64,
    gradient: Path | None = None,
    attention: Path | None = None,
    layer: int = -1,
    overwrite: bool = False,
) -> None:
    """Write a model's activations at one site, a row for every (control cell, condition), streamed; input of vc-interp.

    Sites: st backbone/state; biojepa predictor/cell, encoder/cell, encoder/gene; anchored effect/components, gp/kernel.

    Args:
        checkpoint: A checkpoint of st, biojepa or anchored.
        screen: The screen-v1 file; only its control cells are read.
        splits: The splits-v1 file.
        out: The latents-v1 folder to write (zarr).
        site: Which activations; the first site of the model by default.
        part: Conditions of these parts of the split.
        cells: At most so many control cells of each line.
        gradient: Also write here how expression depends on the site: a row per gene (latents-v1).
        attention: Also write here the factors of linear attention of a biojepa (latents-v1).
        layer: Whose factors; -1 is the last block of the encoder.
        overwrite: Replace earlier files.
    """
    from vc_contracts.whole import check_target

    sources = [checkpoint, screen, splits]
    for target in (out, gradient, attention):
        if target is not None:
            check_target(target, kind="latents", overwrite=overwrite, inputs=sources, make_parent=True)
    from vc_model.biojepa.fitted import FittedBioJepa
    from vc_model.contracts import hash_path
    from vc_model.errors import VcModelError
    from vc_model.sites import open_site
    from vc_model.sites.attention import write_attention
    from vc_model.sites.batches import control_batches
    from vc_model.sites.open import with_controls
    from vc_model.sites.write import write_gradient, write_site

    fitted, conditions = load_for_sites(checkpoint, screen, splits, part, cells)
    parents = {path.name: hash_path(path) for path in sources}
    place = open_site(fitted, with_controls(conditions), site or None)
    config = {"site": place.name, "part": list(part), "checkpoint": parents[checkpoint.name]}
    batches = control_batches(screen, splits, cells)
    n_rows = write_site(out, place, parents=parents, config=config, batches=batches)
    print(f"Wrote {out}: {n_rows} rows of {place.model} at {place.name}, {place.width} dimensions.")
    if gradient is not None:
        write_gradient(gradient, place, parents=parents, config=config)
        print(f"Wrote {gradient}: how {len(place.genes)} genes depend on them.")
    if attention is not None:
        if not isinstance(fitted, FittedBioJepa):
            raise VcModelError(f"--attention: expected a biojepa, which attends linearly, found {fitted.name!r}.")
        write_attention(attention, fitted, layer=layer, cells=cells, parents=parents)
        print(f"Wrote {attention}: factors of its attention.")
    print(f"Next: vc-interp sae {out} sae")


def load_for_sites(
    checkpoint: Path, screen: Path, splits: Path, part: tuple[str, ...] = PARTS, cells: int = 64
) -> "tuple[Fitted, Conditions]":
    """A checkpoint and the conditions of some parts of a split; cell models get at most `cells` control cells of a line.

    Raises:
        VcModelError: If a part is unknown, there are no conditions, or a file is refused.
    """
    import numpy as np

    from vc_model.biojepa.fitted import FittedBioJepa
    from vc_model.checkpoint import load_checkpoint
    from vc_model.errors import VcModelError
    from vc_model.st.fitted import FittedSt
    from vc_model.table.effects import Conditions
    from vc_model.table.pseudobulk import load_conditions, load_control_cells

    unknown = [name for name in part if name not in PARTS]
    if unknown or not part or cells < 1:
        raise VcModelError(
            f"part and cells: expected some of {list(PARTS)} and 1 or more, found {list(part)} and {cells}."
        )
    fitted = load_checkpoint(checkpoint)
    found = [load_conditions(screen, splits, name, fitted.contexts) for name in part]
    conditions = Conditions(
        np.array([str(line) for some in found for line in some.cell_line], dtype=object),
        tuple(action for some in found for action in some.actions),
        found[0].contexts,
        tuple(label for some in found for label in some.perturbation),
    )
    if not len(conditions):
        raise VcModelError(f"{splits}: expected conditions in {list(part)}, found none. Choose other parts.")
    if isinstance(fitted, FittedBioJepa | FittedSt):
        fitted = replace(fitted, cells=load_control_cells(screen, splits, fitted.contexts.genes, cells))
    return fitted, conditions
