"""Leaks from training into test: what each recipe promises, and the check across the screens of a corpus.

One target is one fold, in all cell lines, data sets and modes: a gene knocked down in one screen and activated in another
is the same gene. A combination is held out on its own; its members may train alone.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vc_contracts.rules import PROMISES, leaks_of

from vc_data.errors import VcDataError, few
from vc_data.split.targets import target_keys, targets_of, tell_unproven

HELD_OUT = PROMISES
_DEPTH = {"unused": 0, "train": 0, "val": 1, "test": 2}


class LeakError(VcDataError):
    """Something held out that is also trained on; hold it out everywhere."""


def check_leakage(table: Iterable[dict], held_out: str, where: str | Path = "split") -> None:
    """Check one split against its promise.

    Args:
        table: Conditions with `cell_line`, `targets` (a tuple) and `part`.
        held_out: A key of `HELD_OUT`.
        where: File, for the message.

    Raises:
        LeakError: A held-out target that trains, or one that is both validation and test.
    """
    leaks = find_leaks(table, held_out)
    if leaks:
        do = "Hold these conditions out too, or choose a recipe that promises less."
        raise LeakError(where, "conditions", HELD_OUT[held_out], few(leaks), do)


def find_leaks(table: Iterable[dict], held_out: str) -> list[str]:
    """The breaches of a promise, in words."""
    if held_out == "condition":
        return []
    rows = ((condition["cell_line"], condition["targets"], condition["part"]) for condition in table)
    return leaks_of(rows, by_line=held_out == "target in line")


class NotProvenError(VcDataError):
    """Targets that are linked to no gene: whether they leak, nobody can say."""


def check_corpus(
    parts: Sequence[tuple[Any, Any]], names: Sequence[str] | None = None, *, trust_names: bool = False
) -> list[str]:
    """Check the splits of several screens that will train one model; targets meet by the genes that they are.

    Args:
        parts: (screen, splits) of each member.
        names: File names of the screens, for messages.
        trust_names: Take targets that are linked to no gene for what their names say.

    Returns:
        Statements: how many targets are held out where.

    Raises:
        LeakError: A target held out alone in one screen that another trains on (or that is test here and validation
            there), or two copies of one study.
        NotProvenError: Targets that are linked to no gene, without `trust_names`.
    """
    names = list(names or (f"screen {i}" for i in range(len(parts))))
    check_studies(
        [(name, screen.obs["dataset"].astype(str).unique()) for name, (screen, _) in zip(names, parts, strict=True)]
    )
    check_cells([(name, screen.obs) for name, (screen, _) in zip(names, parts, strict=True)])
    targets = [targets_of(screen) for screen, _ in parts]
    table, statements = [], []
    for name, (screen, splits), keys in zip(names, parts, target_keys(targets), strict=True):
        rows = with_targets(screen, splits, keys)
        table += [row | {"cell_line": f"{name}:{row['cell_line']}"} for row in rows]
        n = len({row["targets"] for row in rows if row["part"] == "test"})
        statements.append(f"{name}: {n} test targets or combinations ({splits.recipe}, seed {splits.seed})")
    check_leakage(table, "target", "corpus")
    unproven = tell_unproven(targets, names)
    if unproven and not trust_names:
        do = "Convert with --aliases TABLE (and --gene-table TABLE), or pass --trust-names if one name is one target here."
        raise NotProvenError("corpus", "targets", "targets that are linked to genes", "; ".join(unproven), do)
    return [*statements, *unproven]


def check_studies(members: Sequence[tuple[str, Iterable[str]]]) -> None:
    """Refuse screens that hold cells of one study twice.

    Args:
        members: (file name, keys of its data sets).

    Raises:
        LeakError: Two copies of one study.
    """
    from vc_data.datasets import same_study

    owners = [(key, name) for name, keys in members for key in keys]
    pairs = same_study([key for key, _ in owners])
    if pairs:
        first, second, study = pairs[0]
        files = [name for key, name in owners if key in (first, second)]
        found = f"{first!r} and {second!r}, both with cells of {study!r} (in {', '.join(dict.fromkeys(files))})"
        raise LeakError("corpus", "obs['dataset']", "each study once", found, "Leave one of them out.")


def check_cells(members: Sequence[tuple[str, Any]]) -> None:
    """Refuse screens that hold the same cells under other names of the data set.

    Barcodes repeat between experiments, total counts of equal barcodes do not.

    Args:
        members: (file name, obs of a screen-v1).

    Raises:
        LeakError: Two screens of which at least half the cells of the smaller have a namesake in the other, nine in
            ten of them with the same total count.
    """
    for (first, one), (second, other) in itertools.combinations(members, 2):
        names = one.index.intersection(other.index)
        if 2 * len(names) < min(len(one), len(other)) or len(names) == 0:
            continue
        totals = [obs.loc[names, "total_counts"].to_numpy() for obs in (one, other)]
        same = int((totals[0] == totals[1]).sum())
        if same >= 0.9 * len(names):
            found = f"{same:,} cells with the same name and total count in {first} and {second}, e.g. {names[0]!r}"
            raise LeakError("corpus", "obs", "each cell once", found, "Leave one of them out.")


def with_targets(screen: Any, splits: Any, keys: Mapping[str, str] | None = None) -> list[dict]:
    """Conditions of a split with their `targets`, from the cells of its screen.

    Args:
        screen: The screen.
        splits: Its split.
        keys: Target -> the name that several screens share for it.
    """
    keys = keys or {}
    obs = screen.obs.loc[~screen.obs["is_control"].to_numpy(), ["cell_line", "perturbation", "target"]].astype(str)
    obs = obs.drop_duplicates(["cell_line", "perturbation"])
    target_of = {(line, label): target for line, label, target in obs.itertuples(index=False)}
    return [
        condition
        | {
            "targets": tuple(
                keys.get(t, t) for t in target_of[condition["cell_line"], condition["perturbation"]].split("+")
            )
        }
        for condition in splits.conditions
    ]


def part_of_targets(
    parts: Sequence[tuple[Any, Any]], keys: Sequence[Mapping[str, str]] | None = None
) -> dict[str, str]:
    """Target held out alone in any of the screens -> `val` or `test`, the more held out where they differ."""
    part_of: dict[str, str] = {}
    for (screen, splits), shared in zip(parts, keys or [{}] * len(parts), strict=True):
        for row in with_targets(screen, splits, shared):
            if row["part"] in ("val", "test") and len(row["targets"]) == 1:
                (target,) = row["targets"]
                part_of[target] = max(part_of.get(target, "train"), row["part"], key=lambda part: _DEPTH[part])
    return part_of
