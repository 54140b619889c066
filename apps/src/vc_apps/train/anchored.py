"""`vc train anchored`: fit and save."""

from vc_apps.train.settings import Anchored


def train_anchored(settings: Anchored) -> str:
    """Fit the anchored model on the training conditions of a split and write its checkpoint.

    Returns:
        A line that says what was written and what to do next.

    Raises:
        VcModelError: If a file is refused.
    """
    from vc_model.checkpoint import save_checkpoint
    from vc_model.contracts import hash_path
    from vc_model.models import make_model
    from vc_model.table.pseudobulk import load_tables

    table, _, test = load_tables(settings.screen, settings.splits, settings.features)
    fitted = make_model("anchored", settings.seed).fit(table)
    sources = [path for path in (settings.screen, settings.splits, settings.features) if path is not None]
    save_checkpoint(
        settings.out,
        fitted,
        parents={path.name: hash_path(path) for path in sources},
        config={"recipe": "anchored", "seed": settings.seed},
    )
    return (
        f"wrote {settings.out}/: anchored on {len(table)} conditions x {len(table.genes)} genes. Next: vc predict "
        f"{settings.out} {settings.screen} {settings.splits} -o predictions.zarr ({len(test)} test conditions)"
    )
