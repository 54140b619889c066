"""Predicted profiles as the cells that a rule wants, by the one emitter of vc-model, streamed to disk."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vc_apps.outputs import AppError
from vc_apps.submit.challenge import CONTROL_LABEL, PERT_COLUMN, Challenge

if TYPE_CHECKING:
    from vc_model.contracts import PredictionFile
    from vc_model.emit.cells import Knobs


def select(predictions: Path, file: "PredictionFile", challenge: Challenge) -> "PredictionFile":
    """The profiles that the challenge asks for, checked before anything slow begins.

    Raises:
        AppError: If genes, contexts or perturbations do not fit.
    """
    from dataclasses import replace

    import numpy as np

    if (file.unit, file.space) != ("profile", "log1p_cp10k"):
        raise AppError(f"{predictions}: expected profiles in log1p_cp10k, found {file.unit}s in {file.space}. "
                       "Predict without --cells; `vc submit` makes the cells.")  # fmt: skip
    extra = sorted(set(file.genes) - set(challenge.genes))
    if extra:
        raise AppError(f"{predictions}: genes: expected genes of the challenge's list, found {len(extra)} others, e.g. "
                       f"{extra[:3]}. Fit the model on the list (`vc-data convert --genes`).")  # fmt: skip
    place = {
        (line, label): row for row, (line, label) in enumerate(zip(file.cell_line, file.perturbation, strict=True))
    }
    rows = []
    for context, asked in challenge.wanted.items():
        absent = [name for name in asked if (context, name) not in place]
        if absent or (context, "control") not in place:
            lines = sorted(set(map(str, file.cell_line)))
            raise AppError(
                f"{predictions}: {context}: expected a profile of each of {len(asked)} perturbations, found {len(absent)} "
                f"missing, e.g. {absent[:3]} (lines predicted: {lines[:5]}). Predict them: `vc predict`."
            )
        rows += [place[(context, "control")], *(place[(context, name)] for name in asked)]
    row_n = np.array(rows)
    return replace(
        file, perturbation=file.perturbation[row_n], cell_line=file.cell_line[row_n], is_control=file.is_control[row_n],
        mean_ng=file.mean_ng[row_n], sd_ng=None, sd_epistemic_ng=None, levels=(), width_nl=None,
        supported_n=None if file.supported_n is None else file.supported_n[row_n], basis_n=None,
    )  # fmt: skip


def write_cells(
    out: Path, file: "PredictionFile", screen: Path, splits: Path, challenge: Challenge, knobs: "Knobs", seed: int
) -> int:
    """Write the cells of a challenge as an .h5ad: whole counts, labels as the rule names them; the number of cells.

    Args:
        out: The .h5ad.
        file: Selected profiles.
        screen: screen-v1, whose input control cells are used.
        splits: splits-v1.
        challenge: The rule.
        knobs: Amplitude and dispersion.
        seed: Of the draws.
    """
    import anndata
    import h5py
    import numpy as np
    import pandas as pd
    from vc_contracts.kinds import OUTPUT_MARK
    from vc_model.emit.cells import source_of
    from vc_model.emit.output import MOST_CONTROLS
    from vc_model.emit.stream import stream_cells
    from vc_model.table.pseudobulk import load_control_cells

    controls = load_control_cells(screen, splits, challenge.genes, MOST_CONTROLS)
    by_label: dict[str, int] = {}
    for line, label in zip(file.cell_line.astype(str), file.perturbation.astype(str), strict=True):
        by_label[label] = max(challenge.wanted[line].get(label, 0), by_label.get(label, 0))
    n_cells = stream_cells(
        out, file, lambda line: source_of(controls, line), by_label, seed,
        knobs=knobs, wanted=challenge.genes, with_controls=challenge.controls,
    )  # fmt: skip
    with h5py.File(out, "r+") as store:
        obs: Any = anndata.io.read_elem(store["obs"])
        label_n = obs["perturbation"].astype(str).to_numpy()
        labels = np.where(obs["is_control"].to_numpy(), CONTROL_LABEL, label_n)
        columns = {
            PERT_COLUMN: pd.Categorical(labels),
            challenge.context_column: pd.Categorical(obs["cell_line"].astype(str)),
        }
        del store["obs"], store["uns"]
        index = pd.Index([str(row) for row in range(len(obs))])
        anndata.io.write_elem(store, "obs", pd.DataFrame(columns, index=index))
        anndata.io.write_elem(store, "uns", {OUTPUT_MARK: "vc submit"})
    return n_cells
