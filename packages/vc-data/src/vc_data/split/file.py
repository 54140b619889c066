"""The contract splits-v1: what of a screen is held out, written, checked and read.

Defined in docs/contracts/splits-v1.md. What is held out is decided in `split/`.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vc_data.contract import check_header, make_header, write_whole
from vc_data.errors import ContractError, few

RECIPES = (
    "by_perturbation", "by_cell_line", "few_shot", "kfold", "follow", "gears", "cell_load", "by_scaffold", "by_dose",
)  # fmt: skip
"""Recipes of this package; readers accept any other name, because the conditions say all that is needed."""
PARTS = ("train", "val", "test", "unused")
CONTROL_SETS = ("input", "reference", "evaluation")
_REMAKE = "Make the split again with 'vc-data split'."


@dataclass(frozen=True)
class Splits:
    """One split of a screen."""

    recipe: str
    seed: int
    conditions: list[dict]
    """`{"cell_line", "perturbation", "part"}`, with `"why"` where the part is `unused` and `"group"` where a
    recipe reports groups apart."""
    controls: dict[str, list[str]]
    """`input`, `reference`, `evaluation`: names of control cells."""
    config: dict = field(default_factory=dict)
    """Settings of the recipe."""
    header: dict = field(default_factory=dict)
    """The file's header, where it was read from one."""

    def part(self, name: str) -> list[tuple[str, str]]:
        """(cell line, perturbation) of one part."""
        return [(c["cell_line"], c["perturbation"]) for c in self.conditions if c["part"] == name]

    def lines(self) -> list[str]:
        """Sizes of parts and control sets, for people."""
        parts = Counter(condition["part"] for condition in self.conditions)
        why = Counter(condition["why"] for condition in self.conditions if condition["part"] == "unused")
        lines = [f"conditions: {', '.join(f'{parts[part]} {part}' for part in PARTS)}"]
        lines += [f"unused, {reason}: {n}" for reason, n in sorted(why.items())]
        groups = Counter((c["part"], c["group"]) for c in self.conditions if "group" in c and c["part"] != "unused")
        lines += [f"{part}, {group}: {n}" for (part, group), n in sorted(groups.items())]
        if self.config.get("leaks"):
            lines.append(
                f"targets held out in a cell line that trains on a combination with them: {self.config['leaks']}"
            )
        return [*lines, f"control cells: {', '.join(f'{len(cells)} {name}' for name, cells in self.controls.items())}"]


def write_splits(
    splits: Splits, path: str | Path, *, parents: dict[str, str] | None = None, overwrite: bool = False
) -> None:
    """Write a splits-v1 file.

    Args:
        splits: What is held out.
        path: Target, a `.json` file.
        parents: The screen's name -> its `sha256_tree`.
        overwrite: Replace an existing target.

    Raises:
        ContractError: The split breaks the contract; nothing is written.
    """
    text = {
        "contract": make_header("splits", parents=parents, config=splits.config, version="1.1"),
        "recipe": splits.recipe,
        "seed": splits.seed,
        "conditions": splits.conditions,
        "controls": splits.controls,
    }
    check_splits(text, path)
    with write_whole(path, overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(text, indent=1) + "\n")


def read_splits(path: str | Path, screen=None) -> Splits:
    """Read and check a splits-v1 file; with a screen, also that it is a split of that screen.

    Raises:
        ContractError: It is not a splits-v1 file, breaks the contract, or belongs to another screen.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ContractError(path, "file", "a JSON file", f"{type(error).__name__}: {error}", _REMAKE) from None
    check_splits(content, path, screen)
    header = content["contract"]
    keys = {key: content[key] for key in ("recipe", "seed", "conditions", "controls")}
    return Splits(**keys, config=header.get("config", {}), header=header)


def check_splits(content: object, path: object, screen=None) -> None:
    """Check everything that splits-v1 says readers refuse; with a screen (AnnData), also against its cells.

    Raises:
        ContractError: At the first breach.
    """

    def refuse(key: str, expected: str, found: object):
        raise ContractError(path, key, expected, str(found), _REMAKE)

    if not isinstance(content, dict):
        refuse("file", "a JSON object", type(content).__name__)
    check_header(content.get("contract"), "splits", path)
    if not isinstance(content.get("recipe"), str) or not content["recipe"]:
        refuse("recipe", "the name of a recipe", repr(content.get("recipe")))
    if not isinstance(content.get("seed"), int):
        refuse("seed", "a whole number", repr(content.get("seed")))
    conditions = content.get("conditions")
    if not isinstance(conditions, list) or not all(isinstance(condition, dict) for condition in conditions):
        refuse("conditions", "a list of objects", type(conditions).__name__)
    for condition in conditions:
        for key in ("cell_line", "perturbation", "part"):
            if not isinstance(condition.get(key), str):
                refuse("conditions", f"{key!r}, a string, in each", condition)
        if condition["part"] not in PARTS:
            refuse("conditions", f"a part of {few(PARTS)}", condition)
        if condition["part"] == "unused" and not isinstance(condition.get("why"), str):
            refuse("conditions", "a 'why' where the part is 'unused'", condition)
    pairs = Counter((condition["cell_line"], condition["perturbation"]) for condition in conditions)
    twice = [pair for pair, n in pairs.items() if n > 1]
    if twice:
        refuse("conditions", "each condition once", f"repeated: {few(twice)}")
    for part in ("train", "test"):
        if not any(condition["part"] == part for condition in conditions):
            refuse("conditions", f"one or more in {part!r}", "none")
    _check_controls(content.get("controls"), refuse)
    if screen is not None:
        _check_against(pairs, content["controls"], screen.obs, refuse)


def _check_controls(controls: object, refuse) -> None:
    if not isinstance(controls, dict) or not all(isinstance(controls.get(name), list) for name in CONTROL_SETS):
        refuse("controls", f"lists {few(CONTROL_SETS)}", controls if controls is None else few(controls))
    for name in CONTROL_SETS:
        if not controls[name]:
            refuse(f"controls[{name!r}]", "one or more cells", "none")
        if not all(isinstance(cell, str) for cell in controls[name]):
            refuse(f"controls[{name!r}]", "names of cells", "something else")
    named = Counter(cell for name in CONTROL_SETS for cell in controls[name])
    shared = [cell for cell, n in named.items() if n > 1]
    if shared:
        refuse("controls", "three lists that share no cell", f"shared or repeated: {few(shared)}")


def _check_against(pairs: Iterable[tuple[str, str]], controls: dict, obs, refuse) -> None:
    perturbed = obs.loc[~obs["is_control"].to_numpy(), ["cell_line", "perturbation"]].astype(str).drop_duplicates()
    held = set(perturbed.itertuples(index=False, name=None))
    if set(pairs) - held:
        refuse("conditions", "conditions of the screen", f"others: {few(sorted(set(pairs) - held))}")
    if held - set(pairs):
        refuse("conditions", "every condition of the screen", f"missing: {few(sorted(held - set(pairs)))}")
    names = set(obs.index[obs["is_control"].to_numpy()])
    for name in CONTROL_SETS:
        others = [cell for cell in controls[name] if cell not in names]
        if others:
            refuse(f"controls[{name!r}]", "control cells of the screen", f"others: {few(others)}")
