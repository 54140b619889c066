"""Every model on one split: fit on the training conditions, predict the test conditions, write the files."""

from pathlib import Path

import numpy as np


def fit_and_predict(
    screen_fpath: Path,
    splits_fpath: Path,
    features_fpath: Path | None,
    out_dpath: Path,
    *,
    checkpoint_dpath: Path | None,
    seed: int,
) -> dict[str, Path]:
    """Fit the anchored model and every baseline; write one predictions-v1 file per model.

    Args:
        screen_fpath: screen-v1.
        splits_fpath: splits-v1 of that screen.
        features_fpath: features-v1, or None.
        out_dpath: Folder of the prediction files.
        checkpoint_dpath: Where the anchored model is saved, or None.
        seed: Of everything random in fitting.

    Returns:
        Model name -> its file; the anchored model first, then `stacked` (the same without its residual), then the
        baselines.
    """
    from vc_model.anchored import Anchored, AnchoredConfig, make_stacked
    from vc_model.baselines import fit_baselines
    from vc_model.contracts import hash_path, write_predictions
    from vc_model.pseudobulk import load_tables

    train, _, test = load_tables(screen_fpath, splits_fpath, features_fpath)
    anchored = Anchored(AnchoredConfig(seed=seed)).fit(train)
    if checkpoint_dpath is not None:
        from vc_model.checkpoint import save_checkpoint

        save_checkpoint(checkpoint_dpath, anchored)
    models = {"anchored": anchored, "stacked": make_stacked(seed).fit(train), **fit_baselines(train, seed=seed)}
    parents = {path.name: hash_path(path) for path in (screen_fpath, splits_fpath, features_fpath) if path is not None}
    out_dpath.mkdir(parents=True, exist_ok=True)
    fpaths = {}
    for name, model in models.items():
        fpaths[name] = out_dpath / f"{name}.zarr"
        write_predictions(fpaths[name], prediction_file(name, test, model.predict(test)), parents=parents)
    return fpaths


def prediction_file(name: str, test, prediction):
    """A model's predictions in the layout of predictions-v1, behind one control profile per cell line.

    Args:
        name: The model's name.
        test: The `Conditions` that were predicted, with their contexts.
        prediction: The `Prediction`, `mean_pg` in log1p_cp10k.
    """
    from vc_model.contracts.predictions import PredictionFile

    lines = np.unique(test.cell_line)
    input_cg = test.contexts.input_cg[test.contexts.positions(lines)]
    is_control = np.arange(len(lines) + len(test)) < len(lines)
    return PredictionFile(
        model=name,
        space="log1p_cp10k",
        unit="profile",
        genes=test.contexts.genes,
        perturbation=np.array(["control"] * len(lines) + list(test.perturbation)),
        cell_line=np.concatenate([lines, test.cell_line]),
        is_control=is_control,
        mean_ng=np.vstack([input_cg, prediction.mean_pg]),
        sd_ng=np.vstack([np.zeros_like(input_cg), np.sqrt(prediction.var_pg)]),
    )
