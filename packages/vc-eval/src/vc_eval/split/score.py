"""Score one split: every model, the cell-eval mean baseline and the split-half ceiling, condition by condition.

`score_split` returns a tidy table and what the report page draws; `stats.summary.summarise` turns one or several of them into
scores-v1. Cell lines are scored one after the other: ranks and emission never mix them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from vc_contracts import progress as bars
from vc_contracts.targets import targets_of

from vc_eval.cells import controls, emission
from vc_eval.cells.states import ControlState, compare_controls
from vc_eval.contracts import Splits, read_predictions, read_screen, read_splits
from vc_eval.errors import VcEvalError
from vc_eval.metrics import calibration, get_metric
from vc_eval.metrics import challenge2025 as vcc
from vc_eval.metrics.uncertainty import LEVELS
from vc_eval.roles import DUPLICATE, MEAN_BASELINE, NO_CHANGE, RESERVED, SHUFFLED, SPLIT_HALF, SPLIT_HALF_SB
from vc_eval.split import ceiling
from vc_eval.split.evaluate import profile_scores
from vc_eval.split.names import check_sources, named_as
from vc_eval.split.prediction import Predicted, predicted_profiles
from vc_eval.split.truth import LineTruth, make_truth, measured_genes, test_lines
from vc_eval.stats.conditions import LineDeltas, SplitScores

if TYPE_CHECKING:
    import anndata


def score_split(
    screen: "str | Path | anndata.AnnData",
    splits: str | Path | dict | Splits,
    predictions: "Mapping[str, str | Path | anndata.AnnData]",
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
    check_sources(screen, splits, predictions)
    screen = read_screen(screen)
    splits = read_splits(splits, screen)
    files, said = _name_as_the_screen(screen, _read_models(predictions))
    measured = measured_genes(screen)
    genes = _shared_genes(measured, files)
    lines = test_lines(splits)
    ask = _Ask(seed=seed, n_ceiling=n_ceiling, n_ceiling_des=min(n_ceiling_des, n_ceiling), n_threads=n_threads)
    names = [*files, *([NO_CHANGE] if NO_CHANGE not in files else [])]
    with bars.progress(total=len(lines) * (len(names) + 3), desc="scoring", unit="model", shown=progress) as bar:
        scored = [_score_line(make_truth(screen, splits, line, genes), files, ask, bar.update) for line in lines]
    return SplitScores(
        dataset=dataset or "+".join(sorted(set(screen.obs["dataset"].astype(str)))),
        split=split or f"{splits.recipe}-{splits.seed}",
        models=names,
        effects={key: size for line in scored for key, size in line.effects.items()},
        conditions=pd.concat([frame for line in scored for frame in line.frames], ignore_index=True),
        deltas=[line.deltas for line in scored],
        notes=_notes(splits, scored, ask, n_measured=len(measured), genes=genes, said=said),
    )


@dataclass(frozen=True, kw_only=True)
class _Ask:
    """What was asked for, the same for every cell line."""

    seed: int
    n_ceiling: int
    n_ceiling_des: int
    n_threads: int | None


@dataclass(frozen=True, kw_only=True)
class _ScoredLine:
    """Everything about one cell line."""

    cell_line: str
    frames: list[pd.DataFrame]
    """Tidy rows of every model, baseline and reference."""
    deltas: LineDeltas
    effects: dict[tuple[str, str], float]
    control_gap: dict[str, float]
    """Model -> root mean square difference of its control state from the input controls."""
    unmatched: int
    without_target: int
    states: dict[str, ControlState]
    """Model -> its control state beside the input controls."""


def _read_models(predictions: "Mapping[str, str | Path | anndata.AnnData]") -> "dict[str, anndata.AnnData]":
    reserved = sorted(set(predictions) & set(RESERVED))
    if reserved or not predictions:
        raise VcEvalError(
            f"predictions: expected at least one model and none named {', '.join(RESERVED)}, found {reserved or 'none'}. "
            "Rename the model."
        )
    return {name: read_predictions(source) for name, source in predictions.items()}


def _name_as_the_screen(
    screen: "anndata.AnnData", files: "dict[str, anndata.AnnData]"
) -> "tuple[dict[str, anndata.AnnData], list[str]]":
    """Predictions by the names of the screen, and a line for each that spells some otherwise."""
    targets, labels, said = targets_of(screen), set(screen.obs["perturbation"].astype(str)), []
    for name, file in files.items():
        files[name], n = named_as(targets, labels, file)
        if n:
            said.append(f"{name}: {n} names of perturbations and genes are read as the screen spells them")
    return files, said


def _shared_genes(genes: np.ndarray, files: "dict[str, anndata.AnnData]") -> np.ndarray:
    """Measured genes that every model predicts, sorted."""
    for name, file in files.items():
        genes = np.intersect1d(genes, file.var_names.to_numpy(str))
        if genes.size < 2:
            raise VcEvalError(
                f"predictions of {name!r}: {genes.size} genes in common with the screen and the other models, expected "
                "two or more. Name genes as the screen's var index does."
            )
    return genes


def _score_line(
    truth: LineTruth, files: "dict[str, anndata.AnnData]", ask: _Ask, done: Callable[[], object]
) -> _ScoredLine:
    """Score models, the mean baseline and the references of one cell line.

    Args:
        truth: What was measured.
        files: Model -> predictions-v1.
        ask: What was asked for.
        done: Called after each of them.
    """
    line, perturbations = truth.cell_line, truth.perturbations
    given = {name: predicted_profiles(file, name, line, perturbations, truth.genes) for name, file in files.items()}
    input_mean_g = np.asarray(truth.input.mean(axis=0)).ravel()
    models = dict(given)
    models.setdefault(NO_CHANGE, _constant(input_mean_g, input_mean_g, len(perturbations)))
    shuffled = {SHUFFLED: _shuffled(truth, input_mean_g, ask.seed)} if len(perturbations) > 1 else {}
    frames = _model_frames(truth, models | shuffled, ask, done)
    baseline, values = _mean_baseline(truth, input_mean_g, ask.n_threads)
    frames.append(_frame(MEAN_BASELINE, truth, values))
    done()
    frames += _reference_frames(truth, models | {MEAN_BASELINE: baseline}, ask)
    done()
    sizes = controls.effect_sizes(truth.table, truth.effects.delta_pg)
    return _ScoredLine(
        cell_line=line,
        frames=frames,
        deltas=_line_deltas(truth, models),
        effects={(line, name): float(size) for name, size in zip(perturbations, sizes, strict=True)},
        control_gap={
            name: float(np.sqrt(np.mean((predicted.control_g - input_mean_g) ** 2)))
            for name, predicted in given.items()
        },
        states={name: _control_state(predicted, input_mean_g, truth) for name, predicted in given.items()},
        unmatched=truth.unmatched,
        without_target=int((~truth.excluded_pg.any(axis=1)).sum()),
    )


def _control_state(predicted: Predicted, input_mean_g: np.ndarray, truth: LineTruth) -> ControlState:
    """A model's unperturbed profile beside that of the input controls, its changes beside the measured ones."""
    ones = np.append(np.ones(len(truth.perturbations)), 1.0)
    moved_pg = input_mean_g + truth.effects.delta_pg
    return compare_controls(
        np.vstack([predicted.profile_pg, predicted.control_g]), np.vstack([moved_pg, input_mean_g]), truth.perturbations,
        (ones, ones),
    )  # fmt: skip


def _model_frames(
    truth: LineTruth, models: dict[str, Predicted], ask: _Ask, done: Callable[[], object]
) -> list[pd.DataFrame]:
    """Tidy rows of every prediction: profile metrics, DES of cells emitted from it, stated uncertainty."""
    drawn = [
        # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
        emission.draw_cells(truth.input.shape[0], int(n), seed=ask.seed, condition=f"{truth.cell_line}|{perturbation}")
        for n, perturbation in zip(truth.sizes, truth.perturbations, strict=True)
    ]
    cells = emission.prepare_input(truth.input)
    frames = []
    for name, predicted in models.items():
        values = profile_scores(predicted, truth)
        emitted = emission.emit_table(cells, drawn, predicted.profile_pg, truth.control, n_threads=ask.n_threads)
        values |= dict(zip(ceiling.DES, vcc.differential_expression_score(truth.table, emitted.table), strict=True))
        values["emission/residual"] = np.abs(emitted.residual_pg).mean(axis=1)
        frames.append(_frame(name, truth, values | _uncertainty(predicted, truth)))
        done()
    return frames


def _reference_frames(truth: LineTruth, rivals: dict[str, Predicted], ask: _Ask) -> list[pd.DataFrame]:
    """Tidy rows of the halves of the data, of their interpolated duplicate, and of halves extrapolated to wholes."""
    halves, duplicate = ceiling.halves_and_duplicate(
        truth, rivals, seed=ask.seed, n_repeats=ask.n_ceiling, n_des=ask.n_ceiling_des
    )
    whole = {name: ceiling.spearman_brown(value) for name, value in halves.items() if get_metric(name).correlation}
    reason = f"fewer than {ceiling.MIN_CELLS} cells"
    rows = ((SPLIT_HALF, halves), (DUPLICATE, duplicate), (SPLIT_HALF_SB, whole))
    return [_frame(name, truth, values, reason) for name, values in rows]


def _line_deltas(truth: LineTruth, models: dict[str, Predicted]) -> LineDeltas:
    return LineDeltas(
        cell_line=truth.cell_line,
        perturbations=truth.perturbations,
        genes=truth.genes,
        measured_pg=truth.effects.delta_pg.astype(np.float32),
        noise_sd_pg=np.sqrt(truth.noise_var_pg).astype(np.float32),
        predicted={name: predicted.delta_pg.astype(np.float32) for name, predicted in models.items()},
    )


def _notes(
    splits: Splits, scored: list[_ScoredLine], ask: _Ask, *, n_measured: int, genes: np.ndarray, said: list[str]
) -> dict:
    """What was held out, what was left out and why, gaps and settings."""
    parts = splits.conditions
    gaps: dict[str, float] = {}
    for line in scored:
        for name, gap in line.control_gap.items():
            gaps[name] = max(gap, gaps.get(name, 0.0))
    return {
        "recipe": splits.recipe,
        "split_seed": splits.seed,
        "seed": ask.seed,
        "cell_lines": [line.cell_line for line in scored],
        "parts": {part: int((parts["part"] == part).sum()) for part in ("train", "val", "test", "unused")},
        "test": _rows(parts[parts["part"] == "test"], "cell_line", "perturbation"),
        "unused": _rows(parts[parts["part"] == "unused"], "cell_line", "perturbation", "why"),
        "genes_measured": n_measured,
        "genes_scored": len(genes),
        "conditions_without_target_gene": sum(line.without_target for line in scored),
        "unmatched_cells": sum(line.unmatched for line in scored),
        "control_state": {line.cell_line: {name: s.as_dict() for name, s in line.states.items()} for line in scored},
        "said": [*said]
        + [note for line in scored for name, s in line.states.items() for note in s.notes(f"{name}, {line.cell_line}")],
        "control_gap": {name: round(gap, 6) for name, gap in gaps.items()},
        "ceiling_repeats": [ask.n_ceiling, ask.n_ceiling_des],
        "rule": f"{vcc.RULE} ({vcc.RULE_VERSION})",
    }


def _rows(table: pd.DataFrame, *columns: str) -> list[list[str]]:
    return table[list(columns)].sort_values(["cell_line", "perturbation"]).to_numpy().tolist()


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
    table = emission.tile_table(truth.mean_baseline_g, truth.sizes, truth.control, n_threads=n_threads)
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
