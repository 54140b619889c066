"""Simulated screens with features, for the experiments beside this file."""

from dataclasses import replace
from pathlib import Path
from typing import Any


def make_world(folder: Path, *, seed: int, preset: str = "tiny", **changes: Any) -> tuple[Path, Path]:
    """A screen and the features of its targets.

    Args:
        folder: To write into.
        seed: Of the world.
        preset: Of `vc_data.simulate.PRESETS`.
        changes: Fields of the simulator's settings.

    Returns:
        Paths of the screen-v1 and the features-v1.
    """
    from vc_data.convert.run import convert
    from vc_data.screen.file import read_screen
    from vc_data.simulate import PRESETS, write_simulation
    from vc_featurize.bank import write_features
    from vc_featurize.geneset import geneset_features

    sim, screen = folder / "sim", folder / "screen.zarr"
    write_simulation(replace(PRESETS[preset], **changes), seed, sim)
    convert(sim / "screen.h5ad", screen)
    labels = read_screen(screen).obs["target"].astype(str).unique()
    targets = sorted({target for label in labels for target in label.split("+")} - {"control"})
    features = write_features(
        folder / "features.zarr", geneset_features(sim / "pathways.gmt", targets), config={"genesets": "pathways.gmt"}
    )
    return screen, Path(features)
