"""The contract splits-v1: what of a screen is held out, written, checked and read.

Defined in docs/contracts/splits-v1.md. What is held out is decided in `split/`.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from vc_contracts.content import stamp_json
from vc_contracts.errors import raised_as
from vc_contracts.parents import check_parent
from vc_contracts.rules import PARTS

from vc_data.contract import make_header, write_whole
from vc_data.errors import ContractError

RECIPES = (
    "by_perturbation", "by_cell_line", "few_shot", "kfold", "follow", "gears", "cell_load", "by_scaffold", "by_dose",
)  # fmt: skip
"""Recipes of this package; readers accept any other name, because the conditions say all that is needed."""


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
        "contract": make_header("splits", parents=parents, config=splits.config, version="1.2"),
        "recipe": splits.recipe,
        "seed": splits.seed,
        "conditions": splits.conditions,
        "controls": splits.controls,
    }
    check_splits(text, path)
    text = stamp_json(text)
    with write_whole(path, kind="splits", overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(text, indent=1) + "\n")


def read_splits(path: str | Path, screen=None, *, screen_path: str | Path | None = None) -> Splits:
    """Read and check a splits-v1 file; with a screen, also that it is a split of that screen.

    Args:
        path: The JSON file.
        screen: Its screen (an AnnData).
        screen_path: Where the screen lies; the hash that the split states must be that of this file.

    Raises:
        ContractError: It is not a splits-v1 file, breaks the contract, or belongs to another screen.
    """
    import vc_contracts

    with raised_as(ContractError):
        content = vc_contracts.read(path, "splits", screen=screen)
        header = content["contract"]
        if screen_path is not None:
            check_parent(header, path, screen_path, only=True, do="Split this screen, or pass the other one.")
    keys = {key: content[key] for key in ("recipe", "seed", "conditions", "controls")}
    return Splits(**keys, config=header.get("config", {}), header=header)


def check_splits(content: dict, path: str | Path, screen=None) -> None:
    """Check everything that splits-v1 says readers refuse; with a screen (AnnData), also against its cells.

    Raises:
        ContractError: At the first breach.
    """
    import vc_contracts

    with raised_as(ContractError):
        vc_contracts.check(content, "splits", path, screen=screen)
