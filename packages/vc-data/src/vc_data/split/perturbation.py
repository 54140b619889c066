"""Hold out targets, each in all cell lines: one draw, folds, or as another screen does.

A combination that contains a held-out target is held out with it, so a held-out target occurs in no training condition.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vc_data.errors import OptionError, TooFewError, few
from vc_data.split.conditions import THIRDS, count_share, draw, finish, list_conditions, most_held_out, usable
from vc_data.split.file import Splits
from vc_data.split.leakage import part_of_targets
from vc_data.split.targets import target_keys, targets_of


def by_perturbation(
    screen,
    *,
    seed: int = 0,
    test: float = 0.25,
    val: float = 0.0,
    min_cells: int = 20,
    control_shares: Sequence[float] = THIRDS,
) -> Splits:
    """Hold out target genes (or compounds), each in all cell lines.

    Of the combinations whose targets are all measured alone, the same shares are held out on their own. Combinations
    left over follow their most held-out target.

    Args:
        screen: A checked screen (an AnnData).
        seed: Of all draws.
        test: Share of targets held out for testing; at least one.
        val: Share of targets for validation; at least one if above 0.
        min_cells: Conditions with fewer cells are `unused`.
        control_shares: Shares of `input`, `reference`, `evaluation`.

    Raises:
        OptionError: Shares that leave nothing for training.
        TooFewError: Too few targets to fill the parts that were asked for.
    """
    if not (0 < test < 1 and 0 <= val < 1 and test + val < 1):
        raise OptionError("split", "test and val", "shares that leave some for training", (test, val), "Lower them.")
    table = list_conditions(screen, min_cells)
    rng = np.random.default_rng(seed)
    singles = sorted({targets[0] for targets in usable(table) if len(targets) == 1})
    sizes = {"test": count_share(test, len(singles)), "val": count_share(val, len(singles))}
    if sum(sizes.values()) >= len(singles):
        found = f"{len(singles)} single targets with {min_cells} cells or more"
        do = "Lower --min-cells, or hold out a cell line."
        raise TooFewError("split", "targets", f"more than {sum(sizes.values())} to hold out", found, do)
    part_of = draw(rng, singles, sizes)
    combos = sorted({targets for targets in usable(table) if len(targets) > 1})
    eligible = [targets for targets in combos if set(targets) <= set(singles)]
    part_of_combo = draw(rng, eligible, {"test": round(test * len(eligible)), "val": round(val * len(eligible))})

    def assign(condition: dict) -> None:
        targets = condition["targets"]
        parts = {part_of.get(target, "train") for target in targets}
        parts.add(part_of_combo.get(targets, "train") if len(targets) > 1 else "train")
        condition["part"] = most_held_out(parts)

    config = {"test": test, "val": val, "min_cells": min_cells}
    return finish(screen, table, assign, "by_perturbation", "target", seed, config, control_shares)


def kfold(
    screen,
    *,
    fold: int,
    n_folds: int = 5,
    val: bool = False,
    seed: int = 0,
    others: Sequence[Any] = (),
    groups: Mapping[str, str] | None = None,
    min_cells: int = 20,
    control_shares: Sequence[float] = THIRDS,
) -> Splits:
    """One of K folds over targets; every target is tested in exactly one of them.

    The targets of all screens are dealt together, so the same seed and the same set of screens put a target into the same
    fold in each of them.

    Args:
        screen: A checked screen.
        fold: Which fold is for testing, 0 to n_folds - 1.
        n_folds: How many there are.
        val: Use the fold after it for validation.
        seed: Of the deal.
        others: The other screens of the corpus.
        groups: Target -> group (protein complex, paralogues); a group is never cut, targets without one stand alone.
        min_cells: Conditions with fewer cells are `unused`.
        control_shares: Shares of `input`, `reference`, `evaluation`.

    Raises:
        OptionError: A fold that does not exist.
        TooFewError: Fewer targets (or groups) than folds.
    """
    if not (2 + val <= n_folds and 0 <= fold < n_folds):
        do = "Pass --fold from 0 to one below --folds, and two folds or more (three with validation)."
        raise OptionError("split", "fold", f"0 to {n_folds - 1} of at least {2 + val}", fold, do)
    table = list_conditions(screen, min_cells)
    keys, *other_keys = target_keys([targets_of(one) for one in (screen, *others)])
    targets = {keys[target] for targets in usable(table) for target in targets}
    for other, shared in zip(others, other_keys, strict=True):
        targets |= {shared[t] for targets in usable(list_conditions(other, min_cells)) for t in targets}
    grouped = {keys.get(target, target): group for target, group in (groups or {}).items()}
    fold_of = deal(targets, n_folds, seed, grouped)
    part_of_fold = {fold: "test"} | ({(fold + 1) % n_folds: "val"} if val else {})

    def assign(condition: dict) -> None:
        condition["part"] = most_held_out({part_of_fold.get(fold_of[keys[t]], "train") for t in condition["targets"]})

    config = {"fold": fold, "n_folds": n_folds, "val": val, "min_cells": min_cells, "grouped": bool(groups)}
    config["n_targets"] = len(targets)
    return finish(screen, table, assign, "kfold", "target", seed, config, control_shares)


def deal(targets: set[str], n_folds: int, seed: int, groups: Mapping[str, str]) -> dict[str, int]:
    """Target -> fold: groups in random order, each to the fold that is smallest then.

    Raises:
        TooFewError: Fewer groups than folds.
    """
    members: dict[str, list[str]] = {}
    for target in sorted(targets):
        members.setdefault(groups.get(target) or f"\0{target}", []).append(target)
    if len(members) < n_folds:
        do = "Pass fewer --folds, or lower --min-cells."
        raise TooFewError("split", "targets", f"{n_folds} targets or groups, one per fold", len(members), do)
    names, sizes, fold_of = sorted(members), [0] * n_folds, {}
    for i in np.random.default_rng(seed).permutation(len(names)):
        fold = sizes.index(min(sizes))
        sizes[fold] += len(members[names[i]])
        fold_of |= dict.fromkeys(members[names[i]], fold)
    return fold_of


def follow(
    screen,
    others: Sequence[tuple[Any, Splits]],
    *,
    seed: int = 0,
    min_cells: int = 20,
    control_shares: Sequence[float] = THIRDS,
) -> Splits:
    """Hold out what is held out in other screens: one target, one fold.

    Args:
        screen: A checked screen.
        others: (screen, splits) to follow; targets that are held out alone there are held out here.
        seed: Of the cut of controls.
        min_cells: Conditions with fewer cells are `unused`.
        control_shares: Shares of `input`, `reference`, `evaluation`.

    Raises:
        TooFewError: None of those targets is in this screen, or nothing else is.
    """
    keys, *other_keys = target_keys([targets_of(one) for one in (screen, *(other for other, _ in others))])
    part_of = part_of_targets(others, other_keys)
    table = list_conditions(screen, min_cells)
    shared = {keys[target] for targets in usable(table) for target in targets} & set(part_of)
    if not shared:
        do = "Nothing is held out in common: split it by perturbation, then check both with 'vc-data check'."
        raise TooFewError(
            "split", "targets", f"some that the other splits hold out ({few(sorted(part_of), 3)})", "none", do
        )

    def assign(condition: dict) -> None:
        condition["part"] = most_held_out({part_of.get(keys[target], "train") for target in condition["targets"]})

    config = {"followed": [splits.recipe for _, splits in others], "n_shared": len(shared), "min_cells": min_cells}
    return finish(screen, table, assign, "follow", "target", seed, config, control_shares)
