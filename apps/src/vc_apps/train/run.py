"""`vc train RECIPE`."""

from vc_apps.outputs import check_out
from vc_apps.train.settings import Anchored, St, Train


def train(command: Train) -> None:
    """Train what the recipe says and print what was written."""
    check_out(command.recipe, "checkpoint")
    if isinstance(command.recipe, Anchored):
        from vc_apps.train.anchored import train_anchored

        print(train_anchored(command.recipe))
    elif isinstance(command.recipe, St):
        from vc_apps.train.st import train_st

        print(train_st(command.recipe))
    else:
        from vc_apps.train.biojepa import train_biojepa

        print(train_biojepa(command.recipe))
