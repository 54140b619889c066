"""Every model on one split: fit on the training conditions, predict the test conditions, write the files."""

from pathlib import Path

MODEL = "anchored"
FITTED = (MODEL, "stacked")
OURS = (*FITTED, "biojepa")
"""Models of ours; every other one in a table is a baseline."""


def fit_and_predict(
    screen_fpath: Path,
    splits_fpath: Path,
    features_fpath: Path | None,
    out_dpath: Path,
    *,
    checkpoint_dpath: Path | None,
    seed: int,
) -> dict[str, Path]:
    """Fit our models and every baseline; write one predictions-v1 file per model.

    Args:
        screen_fpath: screen-v1.
        splits_fpath: splits-v1 of that screen.
        features_fpath: features-v1, or None.
        out_dpath: Folder of the prediction files.
        checkpoint_dpath: Where the anchored model is saved, or None.
        seed: Of everything random in fitting.

    Returns:
        Model name -> its file; our models first, then the baselines.
    """
    from vc_model.checkpoint import save_checkpoint
    from vc_model.contracts import hash_path, write_predictions
    from vc_model.emit.output import make_prediction_file
    from vc_model.models import MODELS, fit_models
    from vc_model.table.pseudobulk import load_tables

    parents = {path.name: hash_path(path) for path in (screen_fpath, splits_fpath, features_fpath) if path is not None}
    train, _, test = load_tables(screen_fpath, splits_fpath, features_fpath)
    fitted = fit_models(train, [*FITTED, *(name for name in MODELS if name not in FITTED)], seed=seed)
    if checkpoint_dpath is not None:
        save_checkpoint(checkpoint_dpath, fitted[MODEL], parents=parents, config={"model": MODEL, "seed": seed})
    out_dpath.mkdir(parents=True, exist_ok=True)
    # One file opens and closes ten times faster than a folder of fifty, and there is one for each of twenty models.
    fpaths = {name: out_dpath / f"{name}.h5ad" for name in fitted}
    for name, model in fitted.items():
        write_predictions(fpaths[name], make_prediction_file(model, test), parents=parents, config={"seed": seed})
    return fpaths


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
