"""The command: check, emit, check again, pack, prove, score, and a receipt."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vc_apps.outputs import AppError, write_json
from vc_apps.submit.challenge import DEFAULT_CELLS, Challenge, make_challenge, read_gene_names, read_wanted
from vc_apps.submit.settings import Baseline, Submit

if TYPE_CHECKING:
    from vc_model.contracts import PredictionFile

KIND_OF = {".vcc": "archive", ".h5ad": "cells"}
"""Ending of the output -> its kind, as `vc_contracts.write_whole` knows it."""


def submit(command: Submit) -> None:
    """`vc submit`.

    Raises:
        AppError: If an input or a setting is refused; nothing is written then.
    """
    _check_command(command)
    challenge = challenge_of(command)
    if command.dry_run:
        print(_plan_in_words(command, challenge))
        return
    if command.predictions is not None:
        from vc_model.contracts import read_predictions

        file = read_predictions(command.predictions)
    else:
        from vc_apps.submit.baselines import predict_baseline

        baseline = cast("Baseline", command.baseline)  # one of the two is given, `_check_command` saw to it
        file = predict_baseline(baseline, command.screen, command.splits, seed=command.seed)
    from vc_apps.submit.cells import select

    chosen = select(command.predictions or Path(f"--baseline {command.baseline}"), file, challenge)
    receipt = make_submission(command, chosen, challenge)
    if command.json:
        from vc_contracts.command import print_json

        print_json(receipt)
        return
    _say(command, receipt, receipt_path(command))


def _plan_in_words(command: Submit, challenge: Challenge) -> str:
    n, cells = sum(map(len, challenge.wanted.values())), sum(sum(own.values()) for own in challenge.wanted.values())
    source = command.predictions or f"the {command.baseline} baseline"
    return (
        f"would give {source} as {cells:,} cells x {len(challenge.genes):,} genes of {n:,} conditions under {command.rule}, and "
        f"write {command.out} and {receipt_path(command)}"
    )


def _check_command(command: Submit) -> None:
    if command.out.suffix not in (".vcc", ".h5ad"):
        raise AppError(f"--out {command.out}: expected a name that ends in .vcc or .h5ad.")
    from vc_contracts import check_target

    inputs = _inputs(command)
    for target, kind in ((command.out, KIND_OF[command.out.suffix]), (receipt_path(command), "file")):
        check_target(target, kind=kind, overwrite=command.overwrite, inputs=inputs, make_parent=True)
    if command.cells is not None and command.cells < 1:
        raise AppError(f"--cells {command.cells}: expected 1 or more.")
    if (command.predictions is None) == (command.baseline is None):
        raise AppError("predictions: expected a predictions-v1 file or --baseline, and not both.")
    for name in ("amplitude", "dispersion"):
        if getattr(command, name) < 0:
            raise AppError(f"--{name} {getattr(command, name)}: expected 0 or more.")


def _inputs(command: Submit) -> list[Path]:
    given = (command.screen, command.splits, command.predictions, command.genes, command.perturbations)
    return [path for path in given if path is not None]


def receipt_path(command: Submit) -> Path:
    """Where the receipt of a submission lies."""
    return command.out.with_suffix(".receipt.json")


def challenge_of(command: Submit) -> Challenge:
    """What is asked for: by the challenge's lists, or by the split."""
    from vc_model.contracts import read_screen, read_splits

    screen = read_screen(command.screen)
    plan = read_splits(command.splits, screen)
    cells = command.cells or DEFAULT_CELLS[command.rule]
    genes = (
        read_gene_names(command.genes) if command.genes else tuple(screen.var.index[screen.var["measured"]].astype(str))
    )
    held: dict[str, dict[str, int]] = {}
    for (line, label), part in plan.parts.items():
        if part == "test":
            held.setdefault(str(line), {})[str(label)] = cells
    wanted = read_wanted(command.perturbations, tuple(held), cells) if command.perturbations else held
    if not any(wanted.values()):
        raise AppError(f"{command.splits}: conditions: expected test conditions, found none. Give --perturbations.")
    return make_challenge(command.rule, genes, wanted)


def make_submission(command: Submit, file: "PredictionFile", challenge: Challenge) -> dict[str, Any]:
    """Cells, checks, archive, official tool and score; the file and its receipt; what the receipt says."""
    from vc_contracts.whole import work_folder, write_whole
    from vc_model.emit.cells import Knobs

    from vc_apps.submit.cells import write_cells
    from vc_apps.submit.check import require
    from vc_apps.submit.prove import ask_official, pack, reopen

    knobs = Knobs(amplitude=command.amplitude, dispersion=command.dispersion)
    options: dict[str, Any] = {"overwrite": command.overwrite, "inputs": _inputs(command), "make_parent": True}
    kind = KIND_OF[command.out.suffix]
    with write_whole(command.out, kind=kind, **options) as temporary, work_folder(temporary) as folder:
        cells_path, packed_path = folder / "cells.h5ad", folder / "packed.vcc"
        if command.baseline == "pseudobulk-shift":
            from vc_apps.submit.shift import shift_cells_file

            n_cells = shift_cells_file(command, file, challenge, cells_path)
        else:
            n_cells = write_cells(cells_path, file, command.screen, command.splits, challenge, knobs, command.seed)
        cells = require(cells_path, challenge)
        notes = pack(packed_path, cells, challenge)
        again = reopen(packed_path)
        if again.n_obs != n_cells:
            raise AppError(
                f"{command.out}: cells: expected {n_cells:,} in the archive, found {again.n_obs:,}. Report this."
            )
        official = ask_official(cells_path, again, challenge) if command.official else {"verdict": "not asked"}
        score = local_score(command, cells, challenge) if command.score else None
        chosen = packed_path if command.out.suffix == ".vcc" else cells_path
        chosen.replace(temporary)
        receipt = _receipt(command, temporary, file, challenge, n_cells, official, score, notes)
        with write_whole(receipt_path(command), **options) as beside:
            write_json(beside, receipt)
    return receipt


def local_score(command: Submit, cells: Any, challenge: Challenge, *, n_boot: int = 1000) -> dict[str, Any] | None:
    """Score with interval where the screen holds the predicted perturbations; None where it does not."""
    from vc_apps.submit.score import real_cells, score_cells

    real = real_cells(command.screen, command.splits, challenge)
    if real is None:
        return None
    train = training_cells(command.screen, command.splits, challenge)
    return score_cells(cells, real, train, challenge, n_boot=n_boot, seed=command.seed).as_dict()


def training_cells(screen: Path, splits: Path, challenge: Challenge) -> Any:
    """Training cells and all controls but those of evaluation, labelled as the rule has it."""
    import numpy as np
    from vc_eval.contracts import read_screen, read_splits

    from vc_apps.submit.challenge import CONTROL_LABEL
    from vc_apps.submit.score import labelled

    data = read_screen(screen)
    plan = read_splits(splits, data)
    label_n, line_n = data.obs["perturbation"].astype(str).to_numpy(), data.obs["cell_line"].astype(str).to_numpy()
    table = plan.conditions[plan.conditions["part"] == "train"]
    train = set(zip(table["cell_line"], table["perturbation"], strict=True))
    keep_n = np.isin(data.obs_names, [*plan.controls["reference"], *plan.controls["input"]])
    keep_n |= np.array([(a, b) in train for a, b in zip(line_n, label_n, strict=True)], bool)
    rows = np.flatnonzero(keep_n)
    cells = data[rows, list(challenge.genes)].copy()
    labels = np.where(cells.obs["is_control"].to_numpy(), CONTROL_LABEL, label_n[rows])
    return labelled(cells, labels, line_n[rows], challenge)


def _receipt(
    command: Submit, made: Path, file, challenge: Challenge, n_cells: int, official, score, notes
) -> dict[str, Any]:
    from importlib.metadata import version

    from vc_model.contracts import hash_path

    inputs = {"screen": command.screen, "splits": command.splits, "predictions": command.predictions,
              "genes": command.genes, "perturbations": command.perturbations}  # fmt: skip
    unsupported = [] if file.supported_n is None else [
        f"{line}|{label}" for line, label, known in zip(file.cell_line, file.perturbation, file.supported_n, strict=True) if not known
    ]  # fmt: skip
    return {
        "rule": challenge.rule,
        "file": {
            "name": command.out.name,
            "sha256": hash_path(made),
            "cells": n_cells,
            "genes": len(challenge.genes),
        },
        "model": file.model,
        "inputs": {
            name: {"name": path.name, "sha256": hash_path(path)} for name, path in inputs.items() if path is not None
        },
        "parents": _parents(command.predictions),
        "settings": {"seed": command.seed, "amplitude": command.amplitude, "dispersion": command.dispersion},
        "unsupported": unsupported,
        "official": official,
        "local_score": score,
        "notes": notes,
        "versions": {name: version(name) for name in ("vc-model", "vc-eval", "vc-apps")},
    }


def _parents(predictions: Path | None) -> dict[str, str]:
    if predictions is None:
        return {}
    from vc_contracts.kinds import header_of

    return dict(header_of(predictions).get("parents", {}))


def _say(command: Submit, receipt: dict[str, Any], path: Path) -> None:
    file, score, official = receipt["file"], receipt["local_score"], receipt["official"]
    for note in receipt["notes"]:
        print(f"note: {note}")
    if receipt["unsupported"]:
        print(
            f"unsupported: {len(receipt['unsupported'])} conditions are outside what {receipt['model']} was trained on"
        )
    print(
        f"official tool: {official.get('tool', '')} {official.get('version', '')} {official['verdict']}".replace(
            "  ", " "
        )
    )
    if score is not None:
        for note in score["notes"]:
            print(f"score: {note}")
    if score is not None and score["n"]:
        print(f"local score ({receipt['rule']}, {score['n']} held-out perturbations): {score['value']:.3f} "
              f"[{score['lower']:.3f}, {score['upper']:.3f}]")  # fmt: skip
    print(f"wrote {command.out}: {file['cells']:,} cells x {file['genes']:,} genes; receipt {path}")
