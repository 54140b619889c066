"""Every model on one split: fit on the training conditions, predict the test conditions, write the files."""

from pathlib import Path

MODEL = "anchored"
OURS = (MODEL, "stacked")
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
    from vc_model.models import MODELS, fit_models
    from vc_model.output import make_prediction_file
    from vc_model.pseudobulk import load_tables

    parents = {path.name: hash_path(path) for path in (screen_fpath, splits_fpath, features_fpath) if path is not None}
    train, _, test = load_tables(screen_fpath, splits_fpath, features_fpath)
    fitted = fit_models(train, [*OURS, *(name for name in MODELS if name not in OURS)], seed=seed)
    if checkpoint_dpath is not None:
        save_checkpoint(checkpoint_dpath, fitted[MODEL], parents=parents, config={"model": MODEL, "seed": seed})
    out_dpath.mkdir(parents=True, exist_ok=True)
    fpaths = {name: out_dpath / f"{name}.zarr" for name in fitted}
    for name, model in fitted.items():
        write_predictions(fpaths[name], make_prediction_file(model, test), parents=parents, config={"seed": seed})
    return fpaths
