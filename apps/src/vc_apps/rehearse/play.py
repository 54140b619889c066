"""One entry played through: fit, predict, emit, check, pack, and score against the held-out cells."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vc_apps.submit.settings import Rule, Submit

if TYPE_CHECKING:
    import anndata as ad
    from vc_model.contracts import PredictionFile

    from vc_apps.submit.score import LocalScore


def predict(
    screen: Path, splits: Path, features: Path | None, models: tuple[str, ...], seed: int
) -> "dict[str, PredictionFile]":
    """Profiles of the test conditions by every model, all fitted on the same training conditions."""
    from vc_model.emit.output import make_prediction_file
    from vc_model.models import fit_models
    from vc_model.table.pseudobulk import load_tables

    train, _, test = load_tables(screen, splits, features)
    plain = [name for name in models if name != "st"]
    files = {name: make_prediction_file(model, test) for name, model in fit_models(train, plain, seed=seed).items()}
    if "st" in models:
        from vc_apps.submit.baselines import predict_baseline

        files["st"] = predict_baseline("st", screen, splits, seed=seed, features=features)
    return files


class HeldOutCells:
    """The real cells of one split, read once for every model and setting that is scored on them."""

    def __init__(self, screen: Path, splits: Path, *, rule: Rule, cells: int | None, seed: int, n_boot: int) -> None:
        from vc_apps.submit.run import challenge_of, training_cells
        from vc_apps.submit.score import real_cells

        self.command = Submit(
            screen=screen,
            splits=splits,
            out=Path("entry.vcc"),
            rule=rule,
            cells=cells,
            seed=seed,
            official=False,
            score=False,
        )
        self.challenge = challenge_of(self.command)
        # Never absent: the challenge asks for the split's own test conditions.
        self.real = cast("ad.AnnData", real_cells(screen, splits, self.challenge))
        self.train = training_cells(screen, splits, self.challenge)
        self.n_boot = n_boot

    def play(self, file: "PredictionFile", *, amplitude: float = 1.0, dispersion: float = 1.0) -> "LocalScore":
        """Make the entry and score what its archive holds."""
        from vc_model.emit.cells import Knobs

        from vc_apps.submit.cells import select, write_cells
        from vc_apps.submit.check import require
        from vc_apps.submit.prove import pack, reopen
        from vc_apps.submit.score import score_cells

        command, knobs = self.command, Knobs(amplitude=amplitude, dispersion=dispersion)
        with tempfile.TemporaryDirectory() as folder:
            cells_path, packed = Path(folder) / "cells.h5ad", Path(folder) / "entry.vcc"
            chosen = select(command.splits, file, self.challenge)
            write_cells(cells_path, chosen, command.screen, command.splits, self.challenge, knobs, command.seed)
            pack(packed, require(cells_path, self.challenge), self.challenge)
            return score_cells(
                reopen(packed), self.real, self.train, self.challenge, n_boot=self.n_boot, seed=command.seed
            )
