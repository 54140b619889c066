"""Every model on one split: fit on the training conditions, predict the test conditions, write the files."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vc_apps.outputs import AppError

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd
    from vc_model.contracts import FeatureBank, Screen
    from vc_model.predictor import Model

MODEL = "anchored"
OURS = (MODEL, "biojepa")
"""Models of ours; every other one in a table is a baseline."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """A screen and its banks, opened, checked and hashed once; every stage of a run works on these.

    Attributes:
        screen_fpath: screen-v1.
        adata: Its content.
        screen: The same for vc-model.
        features_fpath: features-v1 of the screen's gene sets, or None.
        bank_fpaths: Every features-v1 file in use, that one first.
        banks: Their content; each is a source of its own.
        hashes: File name -> sha256; splits are added as they are made.
    """

    screen_fpath: Path
    adata: "ad.AnnData"
    screen: "Screen"
    features_fpath: Path | None
    bank_fpaths: tuple[Path, ...]
    banks: "tuple[FeatureBank, ...]"
    hashes: dict[str, str]

    def parents(self, *more: Path) -> dict[str, str]:
        """Hashes of screen, further files and features, for a header."""
        paths = (self.screen_fpath, *more, *self.bank_fpaths)
        return {path.name: self.hashes[path.name] for path in paths}


def open_inputs(
    screen_fpath: Path, adata: "ad.AnnData", features_fpath: Path | None, banks: tuple[Path, ...] = ()
) -> Inputs:
    """Hash a screen that was just read, and read its banks.

    Args:
        screen_fpath: Where the screen lies.
        adata: Its checked content.
        features_fpath: features-v1 of gene sets, or None.
        banks: Further features-v1 files; their names differ.
    """
    import json

    import numpy as np
    from vc_model.contracts import Screen, hash_path, read_features

    header = adata.uns["contract"]
    counts: Any = adata.X
    screen = Screen(
        screen_fpath,
        json.loads(header) if isinstance(header, str) else dict(header),
        cast("pd.DataFrame", adata.obs),
        cast("pd.DataFrame", adata.var),
        adata.uns["groups"],
        np.asarray(counts.indptr, dtype=np.int64),
        target_genes=str(adata.uns.get("target_genes", "")),
        counts=counts,
    )
    fpaths = (*([features_fpath] if features_fpath else []), *banks)
    hashes = {path.name: hash_path(path) for path in (screen_fpath, *fpaths)}
    if len(hashes) < 1 + len(fpaths):
        raise AppError(
            f"--bank: expected files with different names, found {[path.name for path in fpaths]}. Rename one."
        )
    return Inputs(screen_fpath, adata, screen, features_fpath, fpaths, tuple(map(read_features, fpaths)), hashes)


def fit_and_predict(
    inputs: Inputs,
    splits_fpath: Path,
    out_dpath: Path,
    *,
    checkpoint_dpath: Path | None,
    seed: int,
    plugin: Path | None = None,
    member: bool = False,
) -> dict[str, Path]:
    """Fit our models and every baseline; write one predictions-v1 file per model.

    Args:
        inputs: Screen and bank.
        splits_fpath: splits-v1 of that screen.
        out_dpath: Folder of the prediction files.
        checkpoint_dpath: Where the anchored model is saved, or None.
        seed: Of everything random in fitting.
        plugin: File of a user's own model, fitted and predicted beside the others.
        member: Also stack it with the anchored model.

    Returns:
        Model name -> its file; our models first, then the baselines.
    """
    from vc_model.checkpoint import save_checkpoint
    from vc_model.contracts import write_predictions
    from vc_model.emit.output import make_prediction_file
    from vc_model.models import MODELS, fit_models
    from vc_model.table.pseudobulk import load_tables

    parents = inputs.parents(splits_fpath)
    train, _, test = load_tables(inputs.screen, splits_fpath, inputs.banks)
    fitted = fit_models(train, [MODEL, *(name for name in MODELS if name != MODEL)], seed=seed)
    if plugin is not None:
        for own in own_models(plugin, member=member, seed=seed):
            fitted[own.name] = own.fit(train)
    if checkpoint_dpath is not None:
        save_checkpoint(checkpoint_dpath, fitted[MODEL], parents=parents, config={"model": MODEL, "seed": seed})
    out_dpath.mkdir(parents=True, exist_ok=True)
    # One file opens and closes ten times faster than a folder of fifty, and there is one for each of twenty models.
    fpaths = {name: out_dpath / f"{name}.h5ad" for name in fitted}
    for name, model in fitted.items():
        write_predictions(fpaths[name], make_prediction_file(model, test), parents=parents, config={"seed": seed})
    return fpaths


def own_models(plugin: Path, *, member: bool, seed: int) -> "list[Model]":
    """A user's own model, and where asked the stack of it and the anchored model."""
    from vc_model.ask.member import Members
    from vc_model.ask.plugin import read_plugin
    from vc_model.models import make_model

    own = read_plugin(plugin)
    return [own, Members(make_model(MODEL, seed), own)] if member else [own]


def fit_files_for_use(
    screen_fpath: Path,
    features_fpath: Path | None,
    bank_fpaths: tuple[Path, ...],
    out_dpath: Path,
    min_cells: int,
    seed: int,
    plugin: Path | None,
) -> str:
    """Fit the anchored model, or a user's own, on every condition and save it ready to be asked.

    Args:
        screen_fpath: screen-v1.
        features_fpath: features-v1 of gene sets, or None.
        bank_fpaths: Further features-v1 files.
        out_dpath: The model folder.
        min_cells: Conditions with fewer cells are left out.
        seed: Of everything random in fitting.
        plugin: File of a user's own model.

    Returns:
        A gene that the model measures and no training condition perturbs, to ask about.
    """
    from vc_data.screen.file import read_screen

    from vc_apps.ask.fit import fit_and_save, load

    inputs = open_inputs(screen_fpath, read_screen(screen_fpath), features_fpath, bank_fpaths)
    data = load(inputs.screen, None, inputs.banks, min_cells=min_cells, seed=seed)
    table = data.table
    files = [inputs.screen_fpath, *inputs.bank_fpaths]
    fit_and_save(data, out_dpath, MODEL, plugin, seed, files, False, inputs.hashes)
    trained = {target for action in table.conditions.actions for target in action.targets}
    return next((gene for gene in table.genes if gene not in trained), min(trained))


def train_and_predict_biojepa(
    screen_fpath: Path,
    splits_fpath: Path,
    features_fpath: Path | None,
    checkpoint_dpath: Path,
    out_fpath: Path,
    *,
    seed: int,
    steps: int | None,
) -> Path:
    """Train BioJEPA in its tiny form on one split and predict the test conditions.

    Args:
        screen_fpath: screen-v1.
        splits_fpath: splits-v1 of that screen.
        features_fpath: features-v1, or None.
        checkpoint_dpath: Where the model is saved.
        out_fpath: The predictions-v1 file.
        seed: Of everything random.
        steps: Updates of each stage; None for the recipe's.

    Returns:
        `out_fpath`.
    """
    from vc_model.emit.output import predict_checkpoint
    from vc_model.train.interrupt import InterruptedRun

    from vc_apps.train.biojepa import train_biojepa
    from vc_apps.train.settings import BioJepa

    settings = BioJepa(
        screen=screen_fpath,
        splits=splits_fpath,
        out=checkpoint_dpath,
        features=features_fpath,
        seed=seed,
        preset="tiny",
        pretrain_steps=steps,
        align_steps=steps,
        ac_steps=steps,
        decode_steps=steps,
    )
    try:
        train_biojepa(settings)
    except InterruptedRun:
        # A run folder appears whole or not at all, so nothing of this one is kept.
        raise KeyboardInterrupt from None
    predict_checkpoint(checkpoint_dpath, screen_fpath, splits_fpath, out_fpath)
    return out_fpath
