"""`vc train RECIPE`."""

from vc_apps.outputs import AppError, check_out, inputs_of
from vc_apps.train.settings import Anchored, Source, St, Train


def train(command: Train) -> None:
    """Train what the recipe says and print what was written."""
    check_out(command.recipe, "checkpoint")
    if command.recipe.dry_run:
        print(_plan_in_words(command.recipe))
        return
    if isinstance(command.recipe, Anchored):
        from vc_apps.train.anchored import train_anchored

        print(train_anchored(command.recipe))
    elif isinstance(command.recipe, St):
        from vc_apps.train.st import train_st

        print(train_st(command.recipe))
    else:
        from vc_apps.train.biojepa import train_biojepa

        print(train_biojepa(command.recipe))


def _plan_in_words(settings: Source) -> str:
    """What would be trained on what; the files are read and checked."""
    from vc_contracts.kinds import exists
    from vc_model.contracts import read_screen, read_splits

    for path in inputs_of(settings):
        if not exists(path):
            raise AppError(f"{path}: expected a file to read, found none. Check the path.")
    screen = read_screen(settings.screen)
    parts = list(read_splits(settings.splits, screen).parts.values())
    return (
        f"would train {type(settings).__name__.lower()} on {parts.count('train'):,} conditions of {settings.screen} "
        f"({len(screen.obs):,} cells x {len(screen.var):,} genes) and write {settings.out}/"
    )
