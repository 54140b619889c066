"""`vc train st`: train the set mapper and save."""

from vc_apps.outputs import inputs_of
from vc_apps.train.settings import St
from vc_apps.train.work import close, work_folder


def train_st(settings: St) -> str:
    """Train the set mapper on the training conditions of a split and write its checkpoint.

    Returns:
        A line that says what was written and what to do next.

    Raises:
        VcModelError: If a file is refused, or the run was interrupted.
    """
    from vc_model.checkpoint import load_checkpoint, save_checkpoint
    from vc_model.contracts import hash_path
    from vc_model.st import StTraining, fit_st
    from vc_model.table.pseudobulk import load_control_cells, load_tables

    table, _, test = load_tables(settings.screen, settings.splits, settings.features)
    controls = load_control_cells(settings.screen, settings.splits, table.genes, settings.per_condition)
    with work_folder(settings.out) as work:
        fitted = fit_st(
            settings.screen, settings.splits, table, controls,
            StTraining(preset=settings.preset, steps=settings.steps, peak_rate=settings.rate, seed=settings.seed), work,
            anchor=None if settings.anchor is None else load_checkpoint(settings.anchor),
            per_condition=settings.per_condition, loss=settings.loss,
        )  # fmt: skip
        save_checkpoint(
            settings.out, fitted, parents={path.name: hash_path(path) for path in inputs_of(settings)},
            config={"recipe": "st", "preset": settings.preset, "steps": settings.steps, "seed": settings.seed},
            overwrite=settings.overwrite,
        )  # fmt: skip
        close(work)
    gate = f", gate {fitted.gate:g}" if settings.anchor is not None else ""
    return (
        f"wrote {settings.out}/: {fitted.name} ({settings.preset}{gate}) on {len(table)} conditions x {len(table.genes)} genes. "
        f"Next: vc predict {settings.out} {settings.screen} {settings.splits} -o predictions.zarr ({len(test)} test conditions)"
    )
