"""From predictions to a predictions-v1 file: profiles beside the unperturbed profile of every line, or cells."""

import sys
import zlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
from vc_contracts.content import trusting
from vc_contracts.kinds import header_of
from vc_contracts.parents import lists
from vc_contracts.progress import progress

from vc_model.baselines import BASELINES
from vc_model.checkpoint import load_checkpoint
from vc_model.contracts import PredictionFile, hash_path, read_context_vectors, write_context_vectors, write_predictions
from vc_model.contracts.effects import is_effects
from vc_model.contracts.screen import CONTROL, PARTS
from vc_model.emit.cells import PLAIN, Knobs, draw_cells, source_of
from vc_model.emit.effects import predict_effects
from vc_model.emit.stream import stream_cells
from vc_model.errors import ContractError, VcModelError
from vc_model.predictor import Fitted
from vc_model.table.effects import Conditions
from vc_model.table.pseudobulk import ControlCells, load_conditions, load_control_cells

if TYPE_CHECKING:
    from vc_model.biojepa.fitted import FittedBioJepa

MOST_CONTROLS = 1000  # control cells of a line that cells are made of
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of the intervals that are written


def make_prediction_file(fitted: Fitted, conditions: Conditions) -> PredictionFile:
    """Predict conditions and put them beside one control row per cell line (the model's base profile).

    Args:
        fitted: A fitted model.
        conditions: What to predict; each (cell line, perturbation) once.
    """
    prediction = fitted.predict(conditions)
    lines, first = np.unique(conditions.cell_line, return_index=True)
    control_lg = prediction.base_pg[first]
    nothing_lg = np.zeros_like(control_lg)
    width_pl = np.stack([prediction.conformal.width(prediction.table_p, level) for level in LEVELS], axis=1)
    return PredictionFile(
        model=fitted.name,
        space="log1p_cp10k",
        unit="profile",
        genes=conditions.contexts_or(fitted.contexts).genes,
        perturbation=np.array([CONTROL] * len(lines) + list(conditions.perturbation)),
        cell_line=np.concatenate([lines, conditions.cell_line]),
        is_control=np.arange(len(lines) + len(conditions)) < len(lines),
        mean_ng=np.concatenate([control_lg, prediction.mean_pg]),
        sd_ng=np.concatenate([nothing_lg, np.sqrt(prediction.var_pg)]),
        sd_epistemic_ng=np.concatenate([nothing_lg, np.sqrt(prediction.epistemic_pg)]),
        levels=LEVELS,
        width_nl=np.concatenate([np.zeros((len(lines), len(LEVELS)), dtype=np.float32), width_pl]),
        supported_n=np.concatenate([np.ones(len(lines), dtype=bool), prediction.supported_p]),
        basis_n=np.array(["control"] * len(lines) + prediction.basis_p),
        role="baseline" if fitted.name in BASELINES else "model",
    )


def make_cell_file(
    file: PredictionFile, cells: ControlCells, n_cells: int, seed: int, knobs: Knobs = PLAIN
) -> PredictionFile:
    """Turn predicted profiles into cells with counts (`vc_model.emit.cells`); the control rows become the control cells.

    Args:
        file: Predicted profiles.
        cells: Control cells of every line, over the same genes.
        n_cells: Cells of each condition.
        seed: Of the draws; a condition's own name is part of its stream, so it does not matter what else is asked.
        knobs: Amplitude and dispersion of the cells.
    """
    blocks, labels, lines = [], [], []
    sources = {line: source_of(cells, line) for line in np.unique(file.cell_line)}
    for line, label, control, mean_g in zip(
        progress(file.cell_line, desc="cells"),
        file.perturbation,
        file.is_control,
        file.mean_ng,
        strict=True,
    ):
        source = sources[line]
        if control:
            block_mg = source.count_ng
        else:
            rng = np.random.default_rng([seed, zlib.crc32(f"{line}|{label}".encode())])
            block_mg = draw_cells(source, mean_g, n_cells, rng, knobs)[0]
        blocks.append(block_mg.astype(np.float32))
        labels += [label] * len(block_mg)
        lines += [line] * len(block_mg)
    label_n = np.array(labels)
    return PredictionFile(
        model=file.model,
        space="counts",
        unit="cell",
        genes=file.genes,
        perturbation=label_n,
        cell_line=np.array(lines),
        is_control=label_n == CONTROL,
        mean_ng=np.concatenate(blocks),
        sd_ng=None,
        role=file.role,
    )


def _refuse_other_split(checkpoint: Path, screen: Path, splits: Path, part: str) -> None:
    """A model that was fitted on this very screen, but not with this split, may have trained on what it would predict."""
    header = header_of(checkpoint)
    if part == "train" or trusting() or not lists(header, screen) or lists(header, splits):
        return
    raise ContractError(
        checkpoint,
        "contract['parents']",
        f"the hash of {splits}",
        f"a model fitted on {screen} with another split, or with none",
        f"Its {part} conditions may have been trained on: fit with this split, or pass the split of the model.",
    )


def predict_checkpoint(
    checkpoint: Path,
    screen: Path,
    splits: Path,
    out: Path,
    part: str = "test",
    *,
    contexts: Path | None = None,
    cells: int = 0,
    seed: int = 0,
    knobs: Knobs = PLAIN,
) -> tuple[str, int]:
    """Predict the conditions of one part of a split with any saved model; only control cells of the screen are read.

    Args:
        checkpoint: A checkpoint-v1 folder.
        screen: screen-v1.
        splits: splits-v1 of that screen.
        out: The predictions-v1 file to write.
        part: `test`, `val` or `train`.
        contexts: latents-v1 file that describes the cell lines, for a model that was fitted with one.
        cells: Write so many cells with counts of each condition, and the control cells, instead of profiles.
        seed: Of the cells.
        knobs: Amplitude and dispersion of the cells.

    Returns:
        The model's name, and how many conditions were predicted.

    Raises:
        VcModelError: If the part is unknown or empty, or a file is refused.
    """
    if part not in PARTS[:3]:
        raise VcModelError(f"part: expected train, val or test, found {part!r}.")
    fitted = load_checkpoint(checkpoint)
    _refuse_other_split(checkpoint, screen, splits, part)
    if is_effects(screen):
        if cells or contexts is not None:
            raise VcModelError(
                f"{screen}: expected cells, found effects: they have neither cells nor --contexts. Leave it out."
            )
        return fitted.name, predict_effects(fitted, checkpoint, screen, splits, out, part)
    conditions = load_conditions(screen, splits, part, fitted.contexts)
    if contexts is not None:
        own = fitted.contexts if conditions.contexts is None else conditions.contexts
        described = own.described_by(read_context_vectors(contexts))
        conditions = replace(conditions, contexts=described)
    if len(conditions) == 0:
        raise VcModelError(f"{splits}: part {part!r}: expected conditions, found none. Choose another part.")
    if _is_biojepa(fitted):
        per_line = int(np.bincount(fitted.cells.line_n).max())
        fitted = replace(fitted, cells=load_control_cells(screen, splits, fitted.contexts.genes, per_line))
    file = make_prediction_file(fitted, conditions)
    parents = {path.name: hash_path(path) for path in (checkpoint, screen, splits, contexts) if path is not None}
    # A model that other screens inform says so, and whether they may know what the split holds out.
    config = (
        {"model": fitted.name, "part": part}
        | getattr(fitted, "told", {})
        | ({"cells": cells, "seed": seed} | asdict(knobs) if cells else {})
    )
    if cells > 0:
        controls = load_control_cells(screen, splits, file.genes, MOST_CONTROLS)
        if out.suffix == ".h5ad":
            # However many there are: memory of one condition, and a start that was cut off goes on.
            stream_cells(
                out,
                file,
                lambda line: source_of(controls, line),
                cells,
                seed,
                knobs=knobs,
                parents=parents,
                config=config,
            )
            return fitted.name, len(conditions)
        file = make_cell_file(file, controls, cells, seed, knobs)
    write_predictions(out, file, parents=parents, config=config)
    return fitted.name, len(conditions)


def encode_checkpoint(checkpoint: Path, screen: Path, splits: Path, out: Path) -> tuple[str, int]:
    """Describe the cell lines of a screen by a BioJEPA's encoder, from control cells, as a latents-v1 file.

    Args:
        checkpoint: A checkpoint-v1 folder of BioJEPA after pretraining or later.
        screen: screen-v1; only `input` control cells are read.
        splits: splits-v1 of that screen.
        out: The latents-v1 file to write, for `--contexts`.

    Returns:
        The model's name, and how many lines were described.

    Raises:
        VcModelError: If the checkpoint is of another model, or a file is refused.
    """
    fitted = load_checkpoint(checkpoint)
    if not _is_biojepa(fitted):
        raise VcModelError(f"{checkpoint}: expected a BioJEPA, which encodes cells, found {fitted.name!r}.")
    per_line = int(np.bincount(fitted.cells.line_n).max())
    fitted = replace(fitted, cells=load_control_cells(screen, splits, fitted.contexts.genes, per_line))
    vectors = dict(zip(fitted.cells.lines, fitted.encode_contexts(), strict=True))
    parents = {path.name: hash_path(path) for path in (checkpoint, screen, splits)}
    write_context_vectors(out, vectors, model=fitted.name, site="encoder/cell_vector", parents=parents)
    return fitted.name, len(vectors)


def _is_biojepa(fitted: Fitted) -> "TypeGuard[FittedBioJepa]":
    """Whether a model is one; where none was loaded, its module and JAX need not be either."""
    module = sys.modules.get("vc_model.biojepa.fitted")
    return module is not None and isinstance(fitted, module.FittedBioJepa)
