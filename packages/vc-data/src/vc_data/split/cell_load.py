"""Splits as cell-load's TOML files say (Arc Institute; used by STATE): zero-shot cell types, few-shot perturbation lists.

`[training]` names data sets whose cell types train; `[zeroshot]` sends `"dataset.cell type"` to val or test;
`[fewshot."dataset.cell type"]` lists perturbations for val and test, the others train. A cell type in both goes by
`[zeroshot]`; a perturbation in both lists is tested, because a condition has one part here.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path

from vc_contracts.text.plain import compound_name

from vc_data.errors import OptionError, SourceError, few
from vc_data.split.conditions import THIRDS, check_known, finish, list_conditions
from vc_data.split.file import PARTS, Splits
from vc_data.split.leakage import find_leaks


def cell_load(
    screen,
    toml: str | Path,
    *,
    dataset: str | None = None,
    allow_absent: bool = False,
    seed: int = 0,
    min_cells: int = 20,
    control_shares: Sequence[float] = THIRDS,
) -> Splits:
    """Split as a cell-load TOML file says.

    Args:
        screen: A checked screen; its cell lines are the file's cell types.
        toml: The file.
        dataset: Which data set of the file the screen is. Default: the only one, or the one named in `obs["dataset"]`.
        allow_absent: Let the file name cell types and perturbations that the screen lacks.
        seed: Of the cut of controls.
        min_cells: Conditions with fewer cells are `unused`.
        control_shares: Shares of `input`, `reference`, `evaluation`.

    Returns:
        The split; `config["leaks"]` counts training combinations that contain a target held out in their cell line, which
        the file decides and this function does not change.

    Raises:
        SourceError: No TOML file, or not of this form.
        OptionError: A data set, cell type or perturbation that does not exist; names the nearest.
    """
    path = Path(toml)
    content = _read(path)
    dataset = _find_dataset(
        path, content, dataset, set(screen.obs["dataset"].astype(str)) if "dataset" in screen.obs else set()
    )
    prefix = f"{dataset}."
    zeroshot = {key.removeprefix(prefix): part for key, part in content["zeroshot"].items() if key.startswith(prefix)}
    fewshot = {key.removeprefix(prefix): lists for key, lists in content["fewshot"].items() if key.startswith(prefix)}
    trains = content["training"].get(dataset) == "train"
    table = list_conditions(screen, min_cells)
    labels: dict[str, set[str]] = {}
    for condition in table:
        labels.setdefault(condition["cell_line"], set()).add(condition["perturbation"])
    absent = "Mend the file, or pass --allow-absent if the screen lacks them."
    if not allow_absent:
        check_known("cell types of the TOML file", {*zeroshot, *fewshot}, labels, absent)
    part_of: dict[tuple[str, str], str] = {}
    for line, lists in fewshot.items():
        for part in ("val", "test"):
            named = {_as_screen(label, labels.get(line, set())) for label in lists.get(part, ())}
            if not allow_absent:
                check_known(f"{part} perturbations of {line!r} in the TOML file", named, labels.get(line, ()), absent)
            part_of |= {(line, label): part for label in named}

    def assign(condition: dict) -> None:
        line = condition["cell_line"]
        if line in zeroshot:
            condition["part"] = zeroshot[line]
        elif line in fewshot:
            condition["part"] = part_of.get((line, condition["perturbation"]), "train")
        elif trains:
            condition["part"] = "train"
        else:
            condition |= {"part": "unused", "why": f"data set {dataset!r} is not in [training]"}

    config = {"toml": path.name, "dataset": dataset, "min_cells": min_cells}
    splits = finish(
        screen, table, assign, recipe="cell_load", held_out="condition", seed=seed, config=config,
        control_shares=control_shares,
    )  # fmt: skip
    splits.config["leaks"] = len(find_leaks(table, "target in line"))
    return splits


def _as_screen(label: str, known: set[str]) -> str:
    """A label of the file as the screen writes it: targets in sorted order, or a compound's name with '+' as 'plus'."""
    joined = "+".join(sorted(label.split("+")))
    return compound_name(label) if joined not in known and compound_name(label) in known else joined


def _read(path: Path) -> dict:
    if not path.is_file():
        raise SourceError(path, "file", "a TOML file", "nothing", "Check the path.")
    try:
        content = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SourceError(path, "file", "TOML", str(error), "Mend the file.") from None
    content = {key: content.get(key, {}) for key in ("datasets", "training", "zeroshot", "fewshot")}
    do = "Mend the file; cell-load's README shows the form."
    for key, table in content.items():
        if not isinstance(table, dict):
            raise SourceError(path, f"[{key}]", "a table", type(table).__name__, do)
    wrong = {key: part for key, part in content["zeroshot"].items() if part not in PARTS[:3]}
    if wrong:
        raise SourceError(path, "[zeroshot]", f"one of {few(PARTS[:3])} for each", str(wrong), do)
    for key, lists in content["fewshot"].items():
        good = isinstance(lists, dict) and all(
            isinstance(labels, list) and all(isinstance(label, str) for label in labels) for labels in lists.values()
        )
        if not good or not set(lists) <= set(PARTS[:3]):
            raise SourceError(
                path, f"[fewshot.{key!r}]", "lists of perturbations named val and test", str(lists)[:80], do
            )
    return content


def _find_dataset(path: Path, content: dict, given: str | None, held: set[str]) -> str:
    named = {key.split(".")[0] for key in (*content["zeroshot"], *content["fewshot"])}
    names = sorted(named | set(content["training"]) | set(content["datasets"]))
    if given is not None:
        check_known("data set of the TOML file", [given], names, "Pass --toml-dataset with one of them.")
        return given
    matching = [name for name in names if name in held] or names
    if len(matching) != 1:
        do = "Pass --toml-dataset with the one that this screen is."
        raise OptionError(path, "data set", "one", few(matching) if matching else "none", do)
    return matching[0]
