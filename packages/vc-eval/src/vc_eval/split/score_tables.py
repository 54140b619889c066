"""Score one split of a table of effects: what `score_split` is for cells.

Metrics compare effects in the table's own space; of ranks only the order of genes counts. The ceiling is one half of the
replicates predicting the other, where conditions have several.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from vc_eval.cells import controls
from vc_eval.contracts import Splits, read_effects, read_splits
from vc_eval.errors import VcEvalError
from vc_eval.metrics import calibration, discrimination, expression, get_metric
from vc_eval.metrics.lists import list_scores
from vc_eval.metrics.uncertainty import LEVELS
from vc_eval.roles import MEAN_EFFECT, NO_CHANGE, RESERVED, SHUFFLED, SPLIT_HALF
from vc_eval.split.tables import TableTruth, make_table_truth, measured_everywhere, predicted_effects
from vc_eval.split.truth import test_lines
from vc_eval.stats.conditions import LineDeltas, SplitScores

if TYPE_CHECKING:
    import anndata

RULE = "effects in the table's own space, perturbed gene left out"


def score_effects(
    effects: "str | Path | anndata.AnnData",
    splits: str | Path | dict | Splits,
    predictions: "Mapping[str, str | Path | anndata.AnnData]",
    *,
    seed: int,
    dataset: str | None = None,
    split: str | None = None,
    n_ceiling: int = 20,
) -> SplitScores:
    """Score predicted effects on the test conditions of one split of effects-v1.

    Args:
        effects: effects-v1, path or AnnData.
        splits: splits-v1 of it, path or content.
        predictions: Model name -> effects-v1 in the same space; each must hold every test condition.
        seed: Root seed of halves and shuffles.
        dataset: Name in the result; default is the file's name.
        split: Name in the result; default is recipe and seed of the split.
        n_ceiling: Halves of replicates that are averaged.

    Returns:
        The scores, with `no_change` and the training mean (`mean_effect`) where no file is named so.

    Raises:
        ContractError: If a file does not keep its contract.
        VcEvalError: If names are reserved, spaces differ, genes do not meet or conditions are missing.
    """
    adata = read_effects(effects)
    splits = read_splits(splits, adata)
    files = _read_models(predictions, str(adata.uns["space"]))
    genes = measured_everywhere(adata)
    n_measured = len(genes)
    for name, file in files.items():
        genes = np.intersect1d(genes, file.var_names.to_numpy(str))
        if genes.size < 2:
            raise VcEvalError(
                f"predictions of {name!r}: expected genes in common with the effects, found {genes.size}."
            )
    names = [*files, *(name for name in (NO_CHANGE, MEAN_EFFECT) if name not in files)]
    frames, deltas, sizes = [], [], {}
    for line in test_lines(splits):
        truth = make_table_truth(adata, splits, line, genes)
        own, drawn = _score_line(truth, files, str(adata.uns["space"]), seed, n_ceiling)
        frames += own
        deltas += drawn
        size_p = np.sqrt((truth.delta_pg**2).mean(axis=1))
        sizes |= {(line, name): float(size) for name, size in zip(truth.perturbations, size_p, strict=True)}
    name = Path(effects).stem if isinstance(effects, str | Path) else "effects"
    return SplitScores(
        dataset=dataset or name,
        split=split or f"{splits.recipe}-{splits.seed}",
        models=names,
        effects=sizes,
        conditions=pd.concat(frames, ignore_index=True),
        deltas=deltas,
        notes=_notes(splits, str(adata.uns["space"]), seed, n_measured, genes),
    )


def _read_models(predictions: "Mapping[str, str | Path | anndata.AnnData]", space: str) -> "dict[str, anndata.AnnData]":
    reserved = sorted(set(predictions) & set(RESERVED))
    if reserved or not predictions:
        raise VcEvalError(
            f"predictions: expected at least one model and none named {', '.join(RESERVED)}, found {reserved or 'none'}. "
            "Rename the model."
        )
    files = {name: read_effects(source) for name, source in predictions.items()}
    for name, file in files.items():
        if str(file.uns["space"]) != space:
            raise VcEvalError(
                f"predictions of {name!r}: expected effects in the space {space!r}, found {str(file.uns['space'])!r}. "
                "Spaces are never converted in silence: predict with a model that was fitted on these effects."
            )
    return files


def _score_line(
    truth: TableTruth, files: "dict[str, anndata.AnnData]", space: str, seed: int, n_ceiling: int
) -> tuple[list[pd.DataFrame], list[LineDeltas]]:
    n = len(truth.perturbations)
    said = {
        name: predicted_effects(file, name, truth.cell_line, truth.perturbations, truth.genes)
        for name, file in files.items()
    }
    said.setdefault(NO_CHANGE, (np.zeros_like(truth.delta_pg), None, None))
    said.setdefault(MEAN_EFFECT, (np.tile(truth.train_mean_g, (n, 1)), None, None))
    rivals = {name: delta_pg for name, (delta_pg, _, _) in said.items()}
    frames = []
    for name, (delta_pg, sd_pg, supported_p) in said.items():
        values = _values(truth, delta_pg, truth.delta_pg, space)
        if sd_pg is not None and space != "rank":
            values |= _uncertainty(truth, delta_pg, sd_pg)
            if supported_p is not None:
                values["calibration/supported"] = supported_p.astype(np.float64)
        frames.append(_frame(name, truth, values))
    if n > 1:
        other_pg = truth.delta_pg[controls.shuffle(n, seed)]
        frames.append(_frame(SHUFFLED, truth, _values(truth, other_pg, truth.delta_pg, space)))
    halves = _halves(truth, rivals, space, seed, n_ceiling)
    if halves:
        frames.append(_frame(SPLIT_HALF, truth, halves, "fewer than 2 replicates"))
    if space == "rank":
        return frames, []
    noise_sd_pg = np.sqrt(truth.noise_var_pg).astype(np.float32)
    drawn = LineDeltas(
        cell_line=truth.cell_line, perturbations=truth.perturbations, genes=truth.genes,
        measured_pg=truth.delta_pg.astype(np.float32), noise_sd_pg=noise_sd_pg,
        predicted={name: delta_pg.astype(np.float32) for name, delta_pg in rivals.items()},
    )  # fmt: skip
    return frames, [drawn]


def _values(truth: TableTruth, predicted_pg: np.ndarray, measured_pg: np.ndarray, space: str) -> dict[str, np.ndarray]:
    """Every metric of effects per condition."""
    keep_pg, mean_g = ~truth.excluded_pg, truth.train_mean_g
    values = list_scores(predicted_pg, measured_pg, keep_pg)
    accuracy, top1 = discrimination.centroid_scores(
        predicted_pg - mean_g, measured_pg - mean_g, truth.excluded_pg, cosine=True
    )
    values |= {"centroid_accuracy_cosine": accuracy, "centroid_top1_cosine": top1}
    if space == "rank":
        return values
    top = truth.top_by_delta
    accuracy, top1 = discrimination.centroid_scores(predicted_pg, measured_pg, truth.excluded_pg)
    return values | {
        "pearson_delta": expression.pearson(predicted_pg, measured_pg, keep_pg),
        "pearson_systema": expression.pearson(predicted_pg - mean_g, measured_pg - mean_g, keep_pg),
        "mse_delta": expression.mean_squared_error(predicted_pg, measured_pg, keep_pg),
        "r2_top50_delta": expression.r2(
            np.take_along_axis(predicted_pg, top, axis=1), np.take_along_axis(measured_pg, top, axis=1)
        ),
        "centroid_accuracy": accuracy,
        "centroid_top1": top1,
    }


def _halves(
    truth: TableTruth, rivals: dict[str, np.ndarray], space: str, seed: int, n_repeats: int
) -> dict[str, np.ndarray]:
    """Mean scores of one half of the replicates as the prediction of the other; NaN for conditions of one row."""
    usable = np.array([len(rows) > 1 for rows in truth.rows])
    if not usable.any():
        return {}
    keep_pg = ~truth.excluded_pg
    collected: dict[str, list[np.ndarray]] = {}
    for repeat in range(n_repeats):
        rng = np.random.default_rng([seed, repeat])
        first, second = truth.delta_pg.copy(), truth.delta_pg.copy()
        for p in np.flatnonzero(usable):
            order, half = rng.permutation(len(truth.rows[p])), len(truth.rows[p]) // 2
            first[p] = truth.rows[p][order[:half]].mean(axis=0)
            second[p] = truth.rows[p][order[half : 2 * half]].mean(axis=0)
        values = _values(truth, first, second, space)
        if space != "rank":
            for name, delta_pg in rivals.items():
                mse = expression.mean_squared_error(delta_pg, second, keep_pg)
                values[f"beat/{name}"] = (values["mse_delta"] < mse).astype(np.float64)
                r = expression.pearson(delta_pg, second, keep_pg)
                values[f"beat_pearson/{name}"] = (np.nan_to_num(values["pearson_delta"]) > np.nan_to_num(r)).astype(
                    np.float64
                )
        for name, value in values.items():
            collected.setdefault(name, []).append(np.where(usable, value, np.nan))
    return {name: np.mean(values, axis=0) for name, values in collected.items()}


def _uncertainty(truth: TableTruth, delta_pg: np.ndarray, sd_pg: np.ndarray) -> dict[str, np.ndarray]:
    keep_pg = ~truth.excluded_pg
    inside = calibration.coverage(delta_pg, sd_pg, truth.delta_pg, truth.noise_var_pg, keep_pg)
    values = {f"calibration/coverage_{level}": inside[:, k] for k, level in enumerate(LEVELS)}
    return values | {"calibration/predicted_error": calibration.predicted_error(sd_pg, keep_pg)}


def _frame(model: str, truth: TableTruth, values: dict[str, np.ndarray], reason: str | None = None) -> pd.DataFrame:
    """Tidy rows of one model in one line; a NaN carries its metric's reason, or the one given."""
    n = len(truth.perturbations)
    flat = np.concatenate([values[name] for name in values])
    reasons = np.repeat([reason or get_metric(name).undefined for name in values], n).astype(object)
    kinds = np.where(["+" in name for name in truth.perturbations], "combo", "single")
    return pd.DataFrame({
        "model": model, "cell_line": truth.cell_line,
        "perturbation": np.tile(np.array(truth.perturbations, object), len(values)), "kind": np.tile(kinds, len(values)),
        "metric": np.repeat(np.array(list(values), object), n), "value": flat,
        "reason": np.where(np.isnan(flat), reasons, ""),
    })  # fmt: skip


def _notes(splits: Splits, space: str, seed: int, n_measured: int, genes: np.ndarray) -> dict:
    parts = splits.conditions

    def rows(part: str, *columns: str) -> list[list[str]]:
        own = parts[parts["part"] == part]
        return (
            own[["cell_line", "perturbation", *columns]].sort_values(["cell_line", "perturbation"]).to_numpy().tolist()
        )

    return {
        "recipe": splits.recipe, "split_seed": splits.seed, "seed": seed, "space": space,
        "cell_lines": test_lines(splits),
        "parts": {part: int((parts["part"] == part).sum()) for part in ("train", "val", "test", "unused")},
        "test": rows("test"), "unused": rows("unused", "why"), "genes_measured": n_measured, "genes_scored": len(genes),
        "conditions_without_target_gene": 0, "unmatched_cells": 0, "control_state": {}, "control_gap": {},
        "said": [f"note: effects are in the space {space!r}: units of squared errors are its own"] if space != "rank"
        else ["note: effects are ranks: only the order of genes counts"],
        "rule": f"{RULE} ({space})",
    }  # fmt: skip
