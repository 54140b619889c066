"""Splits of a rehearsal: by target, or target and cell line together, and the splits within training that knobs are chosen on."""

import json
from pathlib import Path

from vc_apps.outputs import AppError


def hold_out(screen: Path, out: Path, *, kind: str, test: float, seed: int) -> Path:
    """Write a split.

    Args:
        screen: screen-v1.
        out: The JSON file.
        kind: `target`: a share of the targets, in every line. `target-and-line`: that share in one line whose every condition
            is held out, and nowhere else trained on; only these are tested.
        test: That share.
        seed: Of the draws; the line is the seed-th one.

    Raises:
        AppError: If there are too few lines.
    """
    from vc_data import split as splitting
    from vc_data.screen.file import read_screen

    data = read_screen(screen)
    if kind == "target":
        splitting.write_splits(splitting.by_perturbation(data, seed=seed, test=test), out)
        return out
    lines = sorted(data.obs["cell_line"].astype(str).unique())
    if len(lines) < 2:
        raise AppError(
            f"{screen}: cell lines: expected 2 or more to hold one out, found {lines}. Hold out targets alone."
        )
    line = lines[seed % len(lines)]
    splitting.write_splits(splitting.by_cell_line(data, test_lines=[line], unseen=test, seed=seed), out)
    plan = json.loads(out.read_text())
    trained = {
        target for row in plan["conditions"] if row["part"] == "train" for target in row["perturbation"].split("+")
    }
    for row in plan["conditions"]:
        if row["part"] == "test" and trained & set(row["perturbation"].split("+")):
            row |= {"part": "unused", "why": "its target is trained in another line"}
    _write(plan, out)
    return out


def hold_out_within(splits: Path, out: Path, *, test: float, seed: int) -> Path:
    """A split of the training conditions alone: a share of their targets is the new test, the old test is not used."""
    import numpy as np

    plan = json.loads(splits.read_text())
    targets = sorted(
        {t for row in plan["conditions"] if row["part"] == "train" for t in row["perturbation"].split("+")}
    )
    drawn = np.random.default_rng([seed, 5]).permutation(targets)[: max(2, round(test * len(targets)))]
    held = set(drawn.tolist())
    for row in plan["conditions"]:
        names = set(row["perturbation"].split("+"))
        if row["part"] != "train":
            row |= {"part": "unused", "why": "held out of the outer split"}
        elif names <= held:
            row["part"] = "test"
        elif names & held:
            row |= {"part": "unused", "why": "holds a target that is held out"}
    _write(plan, out)
    return out


def _write(plan: dict, out: Path) -> None:
    """Write a changed split: its header says nothing of the content it had."""
    plan.get("contract", {}).pop("content", None)
    out.write_text(json.dumps(plan))
