"""`vc train anchored`: the older spelling of `vc fit SCREEN --split SPLITS`; the same code and the same model."""

from vc_apps.outputs import say
from vc_apps.train.settings import Anchored


def train_anchored(settings: Anchored) -> str:
    """Fit the anchored model on the training conditions of a split and write its model folder.

    Returns:
        A line that says what was written and what to do next.

    Raises:
        VcModelError: If a file is refused.
    """
    from vc_apps.ask.fit import fit_and_save, load

    say(f"note: the same as vc fit {settings.screen} --split {settings.splits} -o {settings.out}")
    banks = () if settings.features is None else (settings.features,)
    data = load(settings.screen, settings.splits, banks)
    sources = [settings.screen, settings.splits, *banks]
    fit_and_save(data, settings.out, "anchored", None, settings.seed, sources, settings.overwrite)
    return (
        f"wrote {settings.out}/: anchored on {len(data.table)} conditions x {len(data.table.genes)} genes. Next: vc predict "
        f"{settings.out} {settings.screen} {settings.splits} -o predictions.zarr"
    )
