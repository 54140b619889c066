"""What every recipe shares: the conditions of a screen, the cut of its controls, and the checks at the end."""

import dataclasses
import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from vc_contracts.rules import CONTROL_SETS

from vc_data.contract import make_header
from vc_data.errors import OptionError, TooFewError, few
from vc_data.split.file import Splits, check_splits
from vc_data.split.leakage import HELD_OUT, check_leakage
from vc_data.split.targets import targets_of, unproven_of

THIRDS = (1 / 3, 1 / 3, 1 / 3)


def list_conditions(screen, min_cells: int) -> list[dict]:
    """Every non-control condition of a screen or of a table of effects.

    Args:
        screen: A checked screen (an AnnData), or effects.
        min_cells: Conditions with fewer cells are marked; of effects, those of which so many are known to be behind them.

    Returns:
        Objects with `cell_line`, `perturbation`, `targets` (a tuple), and `why` where the condition cannot be used.
    """
    if not has_cells(screen):
        return _list_effects(screen, min_cells)
    obs = screen.obs[["cell_line", "perturbation", "target", "is_control"]]
    obs = obs.astype({"cell_line": str, "perturbation": str, "target": str})
    n_controls = obs[obs["is_control"]].groupby("cell_line").size()
    perturbed = obs[~obs["is_control"]]
    table = []
    for (line, perturbation), cells in perturbed.groupby(["cell_line", "perturbation"])["target"]:
        condition = {"cell_line": line, "perturbation": perturbation, "targets": tuple(cells.iloc[0].split("+"))}
        if n_controls.get(line, 0) < 3:
            condition["why"] = "fewer than 3 control cells in the cell line"
        elif len(cells) < min_cells:
            condition["why"] = f"fewer than {min_cells} cells"
        table.append(condition)
    return table


def has_cells(screen) -> bool:
    """Whether a table holds cells (a screen), rather than effects."""
    return "n_cells" not in screen.obs


def _list_effects(effects, min_cells: int) -> list[dict]:
    obs = effects.obs
    obs = obs[~obs["is_control"]] if "is_control" in obs else obs
    obs = obs.astype({"cell_line": str, "perturbation": str, "target": str})
    table = []
    for (line, perturbation), rows in obs.groupby(["cell_line", "perturbation"]):
        condition = {
            "cell_line": line,
            "perturbation": perturbation,
            "targets": tuple(rows["target"].iloc[0].split("+")),
        }
        if rows["n_cells"].sum(min_count=1) < min_cells:
            condition["why"] = f"fewer than {min_cells} cells"
        table.append(condition)
    return table


def usable(table: list[dict]) -> list[tuple[str, ...]]:
    """Targets of the conditions that can be used."""
    return [condition["targets"] for condition in table if "why" not in condition]


def count_share(share: float, n: int) -> int:
    """Number that a share of n comes to: at least one if the share is above 0."""
    return max(1, round(share * n)) if share > 0 else 0


def draw(rng: np.random.Generator, items: list, sizes: dict[str, int]) -> dict:
    """Item -> part, for as many random items as the sizes say."""
    order = [items[i] for i in rng.permutation(len(items))]
    parts = [part for part, n in sizes.items() for _ in range(n)]
    return dict(zip(order, parts, strict=False))


def most_held_out(parts: set[str]) -> str:
    """Of several parts the one that keeps most from training."""
    return next(part for part in ("unused", "test", "val", "train") if part in parts)


def finish(
    screen,
    table: list[dict],
    assign: Callable[[dict], None],
    recipe: str,
    held_out: str,
    seed: int,
    config: dict,
    control_shares: Sequence[float] = THIRDS,
) -> Splits:
    """Assign parts, cut controls, and check for leaks and against the contract.

    Args:
        screen: A checked screen.
        table: As `list_conditions` gives it.
        assign: Sets `part` of one condition (with `why` where that is `unused`), and `group` where the recipe has any.
        recipe: Its name.
        held_out: What the recipe keeps from training, one of `leakage.HELD_OUT`.
        seed: Of the cut of controls.
        config: Settings, for the header.
        control_shares: Shares of `input`, `reference`, `evaluation`.

    Raises:
        TooFewError: Nothing is left for training or testing.
        LeakError: The recipe did not keep what it promises.
    """
    for condition in table:
        if "why" in condition:
            condition["part"] = "unused"
        else:
            assign(condition)
    parts = Counter(condition["part"] for condition in table)
    for part in ("train", "test"):
        if not parts[part]:
            why = Counter(condition["why"] for condition in table if condition["part"] == "unused")
            reasons = ", ".join(f"{n} unused ({reason})" for reason, n in why.most_common(3))
            found = f"none of {len(table)}: {', '.join(f'{n} {name}' for name, n in parts.items() if name != 'unused')}"
            do = "Lower --min-cells, or hold out less or something else."
            raise TooFewError("split", f"{part} part", "one or more conditions", f"{found} {reasons}".strip(), do)
    keys = ("cell_line", "perturbation", "part", "why", "group")
    conditions = [{key: condition[key] for key in keys if key in condition} for condition in table]
    # A stream of its own: the cut of controls must not move when the number of targets does.
    controls: dict[str, list[str]] = {name: [] for name in CONTROL_SETS}
    if has_cells(screen):
        controls = cut_controls(screen.obs, control_shares, np.random.default_rng([seed, 1]))
    config = {**config, "held_out": HELD_OUT[held_out], "control_shares": list(control_shares)}
    unproven = unproven_of(targets_of(screen)) if held_out != "condition" else []
    if unproven:
        config["not_proven"] = unproven
    splits = Splits(recipe, seed, conditions, controls, config)
    check_leakage(table, held_out)
    content = dataclasses.asdict(splits) | {"contract": make_header("splits")}
    check_splits(content, "split", screen)
    return splits


def check_known(what: str, names: Iterable[str], known: Iterable[str], flag: str) -> None:
    """Refuse names that a screen does not have, with the nearest that it has.

    Raises:
        OptionError: At least one is unknown.
    """
    known = sorted(set(known))
    folded = {name.casefold(): name for name in known}
    unknown = sorted(set(names) - set(known))
    if not unknown:
        return
    near = {}
    for name in unknown[:5]:
        close = difflib.get_close_matches(name.casefold(), folded, n=2, cutoff=0.5)
        if close:
            near[name] = " or ".join(repr(folded[match]) for match in close)
    hint = "; ".join(f"for {name!r}: {matches}" for name, matches in near.items())
    do = f"Nearest: {hint}. {flag}" if hint else flag
    raise OptionError("split", what, f"some of {few(known, 8)}", f"unknown: {few(unknown)}", do)


def cut_controls(obs, shares: Sequence[float], rng: np.random.Generator) -> dict[str, list[str]]:
    """Cut control cells into `input`, `reference` and `evaluation` within each (cell line, batch).

    A batch of n controls gives each set its share of n, rounded down; the cells left over go to the sets of that cell
    line that are furthest below their share. So small batches, even of one cell, even out over a cell line. A set that
    is still empty takes a cell from the largest set, so every cell line with three controls has all three sets.

    Args:
        obs: Cells of a screen.
        shares: Of the three sets; positive, summing to 1.
        rng: Draws which cells go where.

    Returns:
        Names of cells per set, in the order of `obs`.

    Raises:
        OptionError: Shares that are not three positive numbers summing to 1.
    """
    share = np.asarray(shares, float)
    if share.shape != (3,) or (share <= 0).any() or not np.isclose(share.sum(), 1):
        raise OptionError(
            "split", "control shares", "three positive numbers that sum to 1", share.tolist(), "Mend them."
        )
    set_of = np.full(len(obs), -1)
    is_control = obs["is_control"].to_numpy()
    line, batch = obs["cell_line"].astype(str).to_numpy(), obs["batch"].astype(str).to_numpy()
    for one_line in np.unique(line[is_control]):
        in_line = np.flatnonzero(is_control & (line == one_line))
        filled, seen = np.zeros(3), 0
        for one_batch in np.unique(batch[in_line]):
            cells = rng.permutation(in_line[batch[in_line] == one_batch])
            sizes = np.floor(share * len(cells) + 1e-9).astype(int)
            seen += len(cells)
            for _ in range(len(cells) - sizes.sum()):
                sizes[np.argmax(share * seen - filled - sizes)] += 1
            set_of[cells] = np.repeat(np.arange(3), sizes)
            filled += sizes
        for empty in np.flatnonzero(filled == 0):
            largest = int(np.argmax(filled))
            if filled[largest] > 1:
                cell = rng.choice(in_line[set_of[in_line] == largest])
                set_of[cell] = empty
                filled[largest] -= 1
                filled[empty] += 1
    names = obs.index.to_numpy()
    return {name: names[set_of == i].tolist() for i, name in enumerate(CONTROL_SETS)}
