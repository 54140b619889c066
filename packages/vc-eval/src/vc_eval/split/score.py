"""Score one split: every model, the cell-eval mean baseline and the split-half ceiling, condition by condition.

`score_split` returns a tidy table and what the report page draws; `summary.summarise` turns one or several of them into
scores-v1. Cell lines are scored one after the other: ranks and emission never mix them.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm import tqdm

from vc_eval.cells import emission
from vc_eval.contracts import Splits, read_predictions, read_screen, read_splits
from vc_eval.errors import VcEvalError
from vc_eval.metrics import get_metric
from vc_eval.metrics.uncertainty import LEVELS
from vc_eval.split import calibration, ceiling, controls
from vc_eval.split.controls import DUPLICATE, NO_CHANGE, SHUFFLED, SPLIT_HALF
from vc_eval.split.evaluate import profile_scores
from vc_eval.split.prediction import Predicted, predicted_profiles
from vc_eval.split.truth import LineTruth, make_truth, measured_genes, test_lines
from vc_eval.stats.summary import MEAN_BASELINE, REFERENCES, SPLIT_HALF_SB, paired_differences, summarise
from vc_eval.vcc2025 import rule as vcc

if TYPE_CHECKING:
    import anndata

__all__ = ["MEAN_BASELINE", "SPLIT_HALF", "SplitScores", "paired_differences", "score_split", "summarise"]

RESERVED = (MEAN_BASELINE, *REFERENCES)


@dataclass(frozen=True, kw_only=True)
class LineDeltas:
    """Measured and predicted deltas of one cell line, for drawing."""

    cell_line: str
    perturbations: list[str]
    genes: np.ndarray
    measured_pg: np.ndarray
    noise_sd_pg: np.ndarray
    predicted: dict[str, np.ndarray]
    """Model -> `[p, g]` float32."""


@dataclass(frozen=True, kw_only=True)
class SplitScores:
    """Scores of all models on one split."""

    dataset: str
    split: str
    models: list[str]
    """Scored predictions, in the order given."""
    conditions: pd.DataFrame
    """Tidy: model, cell_line, perturbation, kind (single or combo), metric, value, reason (why NaN, else empty)."""
    deltas: list[LineDeltas]
    effects: dict[tuple[str, str], float] = field(default_factory=dict)
    """(cell line, perturbation) -> strength of the measured effect (`controls.effect_sizes`)."""
    notes: dict
    """What was held out, what was left out and why, gaps and settings; JSON."""


def score_split(
    screen: "str | Path | anndata.AnnData",
    splits: str | Path | dict | Splits,
    predictions: "dict[str, str | Path | anndata.AnnData]",
    *,
    seed: int,
    dataset: str | None = None,
    split: str | None = None,
    n_ceiling: int = 20,
    n_ceiling_des: int = 3,
    n_threads: int | None = None,
    progress: bool = False,
) -> SplitScores:
    """Score every prediction on the test conditions of one split.

    Genes are those the screen measured and every prediction holds, so that all models are scored on the same ones.
    DES compares means only: cells are emitted from each predicted profile by one rule (`vc_eval.cells.emission`).

    Args:
        screen: screen-v1, path or AnnData.
        splits: splits-v1, path or content.
        predictions: Model name -> predictions-v1, path or AnnData; each must hold every test condition.
        seed: Root seed of emission and split halves.
        dataset: Name in the result; default is the screen's `obs["dataset"]`.
        split: Name in the result; default is recipe and seed of the split.
        n_ceiling: Split-half repeats for profile metrics.
        n_ceiling_des: Split-half repeats for DES.
        n_threads: Threads of the DE kernels; default is every core.
        progress: Show a progress bar.

    Raises:
        ContractError: If a file does not keep its contract.
        VcEvalError: If names are reserved, genes do not meet or conditions are missing.
    """
    reserved = sorted(set(predictions) & set(RESERVED))
    if reserved or not predictions:
        raise VcEvalError(
            f"predictions: expected at least one model and none named {', '.join(RESERVED)}, found {reserved or 'none'}. "
            "Rename the model."
        )
    screen = read_screen(screen)
    splits = read_splits(splits, screen)
    files = {name: read_predictions(source) for name, source in predictions.items()}
    genes = measured_genes(screen)
    n_measured = len(genes)
    for name, file in files.items():
        shared = np.intersect1d(genes, file.var_names.to_numpy(str))
        if shared.size < 2:
            raise VcEvalError(
                f"predictions of {name!r}: {shared.size} genes in common with the screen and the other models, expected "
                "two or more. Name genes as the screen's var index does."
            )
        genes = shared
    lines = test_lines(splits)
    rows: list[pd.DataFrame] = []
    deltas: list[LineDeltas] = []
    control_gap: dict[str, float] = {}
    effects: dict[tuple[str, str], float] = {}
    names = [*files, *([NO_CHANGE] if NO_CHANGE not in files else [])]
    unmatched = without_target = 0
    bar = tqdm(total=len(lines) * (len(names) + 3), desc="scoring", unit="model", disable=not progress)
    for line in lines:
        truth = make_truth(screen, splits, line, genes)
        unmatched += truth.unmatched
        without_target += int((~truth.excluded_pg.any(axis=1)).sum())
        models = {
            name: predicted_profiles(file, name, line, truth.perturbations, genes) for name, file in files.items()
        }
        sizes = controls.effect_sizes(truth.table, truth.effects.delta_pg)
        effects |= {(line, name): float(size) for name, size in zip(truth.perturbations, sizes, strict=True)}
        drawn = [
            emission.draw_cells(truth.input.shape[0], int(n), seed=seed, condition=f"{line}|{perturbation}")
            for n, perturbation in zip(truth.sizes, truth.perturbations, strict=True)
        ]
        input_cells = emission.prepare_input(truth.input)
        input_mean_g = np.asarray(truth.input.mean(axis=0)).ravel()
        given = list(models)
        models.setdefault(NO_CHANGE, _constant(input_mean_g, input_mean_g, len(truth.perturbations)))
        shuffled = {SHUFFLED: _shuffled(truth, input_mean_g, seed)} if len(truth.perturbations) > 1 else {}
        for name, predicted in (models | shuffled).items():
            gap = float(np.sqrt(np.mean((predicted.control_g - input_mean_g) ** 2)))
            if name in given:
                control_gap[name] = max(gap, control_gap.get(name, 0.0))
            values = profile_scores(predicted, truth)
            emitted = emission.emit_table(input_cells, drawn, predicted.profile_pg, truth.control, n_threads=n_threads)
            values |= dict(zip(ceiling.DES, vcc.differential_expression_score(truth.table, emitted.table), strict=True))
            values["emission/residual"] = np.abs(emitted.residual_pg).mean(axis=1)
            rows.append(_frame(name, truth, values | _uncertainty(predicted, truth)))
            bar.update()
        baseline, values = _mean_baseline(truth, input_mean_g, n_threads)
        rows.append(_frame(MEAN_BASELINE, truth, values))
        bar.update()
        rivals = models | {MEAN_BASELINE: baseline}
        halves, duplicate = ceiling.halves_and_duplicate(
            truth, rivals, seed=seed, n_repeats=n_ceiling, n_des=min(n_ceiling_des, n_ceiling)
        )
        reason = f"fewer than {ceiling.MIN_CELLS} cells"
        rows.append(_frame(SPLIT_HALF, truth, halves, reason))
        rows.append(_frame(DUPLICATE, truth, duplicate, reason))
        correlations = {k: ceiling.spearman_brown(v) for k, v in halves.items() if _is_correlation(k)}
        rows.append(_frame(SPLIT_HALF_SB, truth, correlations, reason))
        bar.update()
        deltas.append(
            LineDeltas(
                cell_line=line,
                perturbations=truth.perturbations,
                genes=genes,
                measured_pg=truth.effects.delta_pg.astype(np.float32),
                noise_sd_pg=np.sqrt(truth.noise_var_pg).astype(np.float32),
                predicted={name: predicted.delta_pg.astype(np.float32) for name, predicted in models.items()},
            )
        )
    bar.close()
    conditions = pd.concat(rows, ignore_index=True)
    datasets = sorted(set(screen.obs["dataset"].astype(str)))
    parts = splits.conditions
    notes = {
        "recipe": splits.recipe,
        "split_seed": splits.seed,
        "seed": seed,
        "cell_lines": lines,
        "parts": {part: int((parts["part"] == part).sum()) for part in ("train", "val", "test", "unused")},
        "test": parts.loc[parts["part"] == "test", ["cell_line", "perturbation"]]
        .sort_values(["cell_line", "perturbation"])
        .to_numpy()
        .tolist(),
        "unused": parts.loc[parts["part"] == "unused", ["cell_line", "perturbation", "why"]]
        .sort_values(["cell_line", "perturbation"])
        .to_numpy()
        .tolist(),
        "genes_measured": n_measured,
        "genes_scored": len(genes),
        "conditions_without_target_gene": without_target,
        "unmatched_cells": unmatched,
        "control_gap": {name: round(gap, 6) for name, gap in control_gap.items()},
        "ceiling_repeats": [n_ceiling, min(n_ceiling_des, n_ceiling)],
        "rule": f"{vcc.RULE} ({vcc.RULE_VERSION})",
    }
    return SplitScores(
        dataset=dataset or "+".join(datasets), split=split or f"{splits.recipe}-{splits.seed}", models=names, effects=effects,
        conditions=conditions, deltas=deltas, notes=notes,
    )  # fmt: skip


def _is_correlation(metric: str) -> bool:
    return get_metric(metric).correlation


def _constant(profile_g: np.ndarray, control_g: np.ndarray, n: int) -> Predicted:
    """The same profile for every condition."""
    profile_pg = np.repeat(profile_g[None], n, axis=0)
    return Predicted(profile_pg=profile_pg, control_g=control_g, delta_pg=profile_pg - control_g, sd_pg=None)


def _shuffled(truth: LineTruth, input_mean_g: np.ndarray, seed: int) -> Predicted:
    """The measured change of another condition, on the input controls."""
    delta_pg = truth.effects.delta_pg[controls.shuffle(len(truth.perturbations), seed)]
    profile_pg = np.maximum(input_mean_g + delta_pg, 0)
    return Predicted(profile_pg=profile_pg, control_g=input_mean_g, delta_pg=delta_pg, sd_pg=None)


def _mean_baseline(
    truth: LineTruth, input_mean_g: np.ndarray, n_threads: int | None
) -> tuple[Predicted, dict[str, np.ndarray]]:
    """cell-eval's mean baseline and its scores: one profile for all conditions, written as identical cells."""
    predicted = _constant(truth.mean_baseline_g, input_mean_g, len(truth.perturbations))
    values = profile_scores(predicted, truth)
    table = emission.tile_table(predicted.profile_pg, truth.sizes, truth.control, n_threads=n_threads)
    return predicted, values | dict(
        zip(ceiling.DES, vcc.differential_expression_score(truth.table, table), strict=True)
    )


def _uncertainty(predicted: Predicted, truth: LineTruth) -> dict[str, np.ndarray]:
    if predicted.sd_pg is None:
        return {}
    keep_pg = ~truth.excluded_pg
    inside = calibration.coverage(
        predicted.delta_pg, predicted.sd_pg, truth.effects.delta_pg, truth.noise_var_pg, keep_pg, predicted.width_pl
    )
    values = {f"calibration/coverage_{level}": inside[:, k] for k, level in enumerate(LEVELS)}
    values["calibration/predicted_error"] = calibration.predicted_error(predicted.sd_pg, keep_pg)
    if predicted.supported_p is not None:
        values["calibration/supported"] = predicted.supported_p.astype(np.float64)
    return values


def _frame(model: str, truth: LineTruth, values: dict[str, np.ndarray], reason: str | None = None) -> pd.DataFrame:
    """Tidy rows of one model in one line; a NaN carries its metric's reason, or the one given."""
    n = len(truth.perturbations)
    flat = np.concatenate([values[name] for name in values]) if values else np.empty(0)
    reasons = np.repeat([reason or get_metric(name).undefined for name in values], n).astype(object)
    return pd.DataFrame({
        "model": model,
        "cell_line": truth.cell_line,
        "perturbation": np.tile(np.array(truth.perturbations, object), len(values)),
        "kind": np.tile(np.where(truth.is_combo, "combo", "single"), len(values)),
        "metric": np.repeat(np.array(list(values), object), n),
        "value": flat,
        "reason": np.where(np.isnan(flat), reasons, ""),
    })  # fmt: skip
