"""Rules that join several fields of a contract. Each gets the tables (or the JSON object) and refuses."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from vc_contracts.errors import few, short
from vc_contracts.schema import Refuse
from vc_contracts.tables import Tables

CONTROL = "control"
"""The label of control cells in every file."""
PARTS = ("train", "val", "test", "unused")
CONTROL_SETS = ("input", "reference", "evaluation")
GROUP_KEYS = ("cell_line", "perturbation", "batch")


def control_is_flagged(tables: Tables, refuse: Refuse) -> None:
    """`is_control` is true exactly where the perturbation is `control`."""
    obs = tables.obs
    if "is_control" not in obs:
        return
    wrong = obs.index[(_labels(obs, "perturbation") == CONTROL) != obs["is_control"].to_numpy()]
    if len(wrong):
        refuse("obs['is_control']", f"true exactly where perturbation is {CONTROL!r}", f"other rows: {few(wrong)}")


def controls_and_perturbed(tables: Tables, refuse: Refuse) -> None:
    """At least one control cell and one perturbed cell; a screen that says it holds controls only has no perturbed cell."""
    is_control = tables.obs["is_control"].to_numpy()
    only = "controls_only" in tables.uns
    if only and (not bool(tables.uns["controls_only"]) or not is_control.all()):
        refuse("uns['controls_only']", "true, in a screen of control cells", "perturbed cells, or false")
    if not is_control.any() or (is_control.all() and not only):
        found = "no control cell" if not is_control.any() else "no perturbed cell"
        refuse("obs['is_control']", "control cells and perturbed cells", found)


def groups_tile(tables: Tables, refuse: Refuse) -> None:
    """`groups` tile the rows in order, agree with obs and name each group once."""
    groups, obs = tables.uns["groups"], tables.obs
    for column in ("start", "stop"):
        if groups[column].dtype.kind not in "iu" or not isinstance(groups[column].dtype, np.dtype):
            refuse(f"uns['groups'][{column!r}]", "whole numbers", f"dtype {groups[column].dtype}")
    start, stop = (groups[column].to_numpy().astype(np.int64) for column in ("start", "stop"))
    tiles = len(start) and start[0] == 0 and stop[-1] == len(obs) and (start[1:] == stop[:-1]).all()
    if not tiles or (start >= stop).any():
        refuse("uns['groups']", f"slices that tile 0..{len(obs)} in row order", "gaps, overlaps or empty slices")
    for column in GROUP_KEYS:
        listed = np.repeat(groups[column].astype(str).to_numpy(), stop - start)
        wrong = np.flatnonzero(listed != _labels(obs, column))
        if len(wrong):
            found = f"row {wrong[0]}: {short(listed[wrong[0]])} against {short(obs[column].iloc[wrong[0]])}"
            refuse(f"uns['groups'][{column!r}]", "the same as in obs", found)
    if groups[list(GROUP_KEYS)].astype(str).duplicated().any():
        refuse("uns['groups']", "each (cell_line, perturbation, batch) once", "a repeated one")


def datasets_are_measured(tables: Tables, refuse: Refuse) -> None:
    """`varm["measured"]` has a bool column per entry of `uns["datasets"]`."""
    if "measured" not in tables.varm:
        return
    names, measured = tables.uns.get("datasets"), tables.varm["measured"]
    if names is None:
        refuse("varm['measured']", "uns['datasets'], which names its columns", "none")
    shape = (len(tables.var), len(np.atleast_1d(names)))
    if not isinstance(measured, np.ndarray) or measured.dtype != bool or measured.shape != shape:
        found = f"{getattr(measured, 'dtype', type(measured).__name__)} of shape {getattr(measured, 'shape', None)}"
        refuse("varm['measured']", f"bool of shape {shape}", found)


def every_line_has_a_control(tables: Tables, refuse: Refuse) -> None:
    """Each cell line has at least one control row."""
    line, is_control = _labels(tables.obs, "cell_line"), tables.obs["is_control"].to_numpy()
    bare = sorted(set(line) - set(line[is_control]))
    if bare:
        refuse("obs", "a control row for every cell line", f"none for {few(bare)}")


def profiles_once(tables: Tables, refuse: Refuse) -> None:
    """Of a profile file: each (cell_line, perturbation) once."""
    if tables.uns["unit"] == "profile":
        _once(tables.obs[["cell_line", "perturbation"]], "one profile per (cell_line, perturbation)", refuse)


def conditions_once(tables: Tables, refuse: Refuse) -> None:
    """Of effects: each (cell_line, perturbation, batch) once."""
    columns = [column for column in GROUP_KEYS if column in tables.obs]
    _once(tables.obs[columns], f"one row per ({', '.join(columns)})", refuse)


def widths_multiply_sd(tables: Tables, refuse: Refuse) -> None:
    """Interval widths come with `sd`, have one column per level and rise along a row."""
    if "interval_width" not in tables.obsm:
        return
    if "sd" not in tables.layers:
        refuse("obsm['interval_width']", "layers['sd'], which the widths multiply", "none")
    if "interval_levels" not in tables.uns:
        refuse("uns['interval_levels']", "rising numbers between 0 and 1", "nothing")
    width, n_levels = tables.obsm["interval_width"], len(np.atleast_1d(tables.uns["interval_levels"]))
    shape = (len(tables.obs), n_levels)
    if width.shape != shape:
        refuse("obsm['interval_width']", f"one width per row and level, shape {shape}", f"shape {width.shape}")
    if not (width[:, 1:] >= width[:, :-1]).all():
        refuse("obsm['interval_width']", "widths that rise along the levels", "falling ones")


def missing_rows_are_zero(tables: Tables, refuse: Refuse) -> None:
    """Of features: a row that is missing is all zeros."""
    missing = tables.obs["missing"].to_numpy()
    bad = tables.obs.index[missing & tables.X.any(axis=1)]
    if len(bad):
        refuse("obs['missing']", "zeros in X where missing", f"other values in {len(bad)} rows: {few(bad)}")


def dim_is_the_columns(tables: Tables, refuse: Refuse) -> None:
    """Of features: the encoder's `dim` is the number of columns."""
    import json

    dim = json.loads(tables.uns["encoder"])["dim"]
    if isinstance(dim, bool) or dim != tables.X.shape[1]:
        refuse("uns['encoder'] dim", f"{tables.X.shape[1]}, the columns of X", short(dim))


def measured_once(tables: Tables, refuse: Refuse) -> None:
    """Of effects: at most one of the two masks, and zeros where a gene was not measured."""
    layer = tables.layers.get("measured")
    if layer is not None and "measured" in tables.var:
        refuse("layers['measured']", "one mask: the layer or var['measured']", "both")
    if layer is not None:
        if not isinstance(layer, np.ndarray) or layer.dtype != bool:
            refuse("layers['measured']", "a dense bool mask", f"{getattr(layer, 'dtype', type(layer).__name__)}")
        absent = ~layer
    elif "measured" in tables.var:
        absent = np.broadcast_to(~tables.var["measured"].to_numpy(), tables.X.shape)
    else:
        return
    if tables.X[absent].any():
        refuse("X", "zeros where a gene was not measured", "other values")


def conditions_of_a_split(content: dict[str, Any], refuse: Refuse) -> None:
    """Each condition is an object with a part; each stands once; train and test are not empty."""
    rows = content["conditions"]
    for row in rows:
        if not isinstance(row, dict):
            refuse("conditions", "a list of objects", short(row))
        for key in ("cell_line", "perturbation", "part"):
            if not isinstance(row.get(key), str):
                refuse("conditions", f"{key!r}, a string, in each", short(row))
        if row["part"] not in PARTS:
            refuse("conditions[].part", f"a part of {few(PARTS)}", short(row))
        if row["part"] == "unused" and not isinstance(row.get("why"), str):
            refuse("conditions", "a 'why' where the part is 'unused'", short(row))
        if not isinstance(row.get("group", ""), str):
            refuse("conditions", "a 'group' that is a string", short(row))
    twice = [pair for pair, n in Counter((row["cell_line"], row["perturbation"]) for row in rows).items() if n > 1]
    if twice:
        refuse("conditions", "each condition once", f"repeated: {few(twice)}")
    parts = {row["part"] for row in rows}
    for part in ("train", "test"):
        if part not in parts:
            refuse("conditions", f"one or more in {part!r}", "none")


def controls_of_a_split(content: dict[str, Any], refuse: Refuse) -> None:
    """Three lists of names that are not empty and share no cell; all three are empty where effects are split."""
    controls = content["controls"]
    if all(controls.get(name) == [] for name in CONTROL_SETS):
        return
    for name in CONTROL_SETS:
        cells = controls.get(name)
        if not isinstance(cells, list) or not cells:
            refuse(f"controls[{name!r}]", "a list of one or more control cells", short(cells))
        if not all(isinstance(cell, str) for cell in cells):
            refuse(f"controls[{name!r}]", "names of cells", "something else")
    named = Counter(cell for name in CONTROL_SETS for cell in controls[name])
    shared = [cell for cell, n in named.items() if n > 1]
    if shared:
        refuse("controls", "three lists that share no cell", f"shared or repeated: {few(shared)}")


def split_of_this_screen(content: dict[str, Any], obs: Any, refuse: Refuse) -> None:
    """A split names every condition of its screen, no other, and control cells of the screen only.

    Args:
        content: A checked split.
        obs: The rows of the screen, or of the effects.
        refuse: Raises.
    """
    cells = "total_counts" in obs or "n_cells" not in obs  # effects count the cells behind each row
    is_control = _is_control(obs)
    if cells == (not any(content["controls"][name] for name in CONTROL_SETS)):
        expected = "control cells of the screen" if cells else "empty lists, for effects have no control cells"
        refuse("controls", expected, "none" if cells else "names")
    perturbed = obs.loc[~is_control, ["cell_line", "perturbation"]].astype(str).drop_duplicates()
    held = set(perturbed.itertuples(index=False, name=None))
    pairs = {(row["cell_line"], row["perturbation"]) for row in content["conditions"]}
    if pairs - held:
        refuse("conditions", "conditions of the screen", f"others: {few(sorted(pairs - held))}")
    if held - pairs:
        refuse("conditions", "every condition of the screen", f"missing: {few(sorted(held - pairs))}")
    names = set(obs.index[is_control])
    for name in CONTROL_SETS:
        others = [cell for cell in content["controls"][name] if cell not in names]
        if others:
            refuse(f"controls[{name!r}]", "control cells of the screen", f"others: {few(others)}")


PROMISES = {
    "target": "no training condition contains a target that is held out alone, in any cell line",
    "target in line": "no training condition of a cell line contains a target that is held out alone in that line",
    "condition": "held-out conditions do not train; their targets may, in other conditions",
}
"""What a split can promise: short name -> the words that its header has under `config["held_out"]`."""
PROMISE_OF = {
    **dict.fromkeys(("by_perturbation", "kfold", "follow", "gears", "by_scaffold"), "target"),
    **dict.fromkeys(("by_cell_line", "few_shot"), "target in line"),
}
"""What known recipes promise where the header does not say it; the others promise no more than `condition`."""


def promise_of(recipe: str, stated: str | None) -> str | None:
    """Key of `PROMISES` that a header states, or else the recipe stands for; None where neither says anything."""
    return next((key for key, words in PROMISES.items() if words == stated), PROMISE_OF.get(recipe))


def split_keeps_its_promise(content: dict[str, Any], obs: Any, refuse: Refuse) -> None:
    """No target that is held out alone trains, as far as the header or the recipe promises it.

    The promise is tested on the targets of the screen at hand, so a split that was edited after it was made is noticed.

    Args:
        content: A checked split of the screen.
        obs: The rows of the screen.
        refuse: Raises.
    """
    promise = promise_of(content["recipe"], (content["contract"].get("config") or {}).get("held_out"))
    if promise in (None, "condition"):
        return
    cells = obs.loc[~_is_control(obs), ["cell_line", "perturbation", "target"]].astype(str)
    target_of = {(line, label): target for line, label, target in cells.drop_duplicates().itertuples(index=False)}
    rows = [
        (row["cell_line"], tuple(target_of[row["cell_line"], row["perturbation"]].split("+")), row["part"])
        for row in content["conditions"]
    ]
    leaks = leaks_of(rows, by_line=promise == "target in line")
    if leaks:
        refuse("conditions", f"what the split promises: {PROMISES[promise]}", few(leaks))


def leaks_of(rows: Iterable[tuple[str, tuple[str, ...], str]], *, by_line: bool) -> list[str]:
    """In words: targets held out alone that train as well, or that are in `val` and in `test`.

    Args:
        rows: (cell line, targets, part) of each condition.
        by_line: Targets are held out of their cell line alone, and not of all.
    """
    alone: dict[tuple[str, str], set[str]] = {}
    trained: dict[tuple[str, str], str] = {}
    for cell_line, targets, part in rows:
        line = cell_line if by_line else ""
        if part in ("val", "test") and len(targets) == 1:
            alone.setdefault((line, targets[0]), set()).add(part)
        elif part == "train":
            for target in targets:
                trained.setdefault((line, target), f"{cell_line}/{'+'.join(targets)}")
    leaks = [f"{key[1]} held out, but {trained[key]} trains" for key in alone if key in trained]
    return leaks + [f"{target} in val and in test" for (_, target), parts in alone.items() if len(parts) > 1]


def value_inside_interval(content: dict[str, Any], refuse: Refuse) -> None:
    """Of scores: a value lies inside its interval."""
    table = content["table"]
    outside = (table["value"] < table["lower"]) | (table["value"] > table["upper"])
    if outside.any():
        row = table[outside].iloc[0]
        refuse("value", "a value inside [lower, upper]", f"{row['value']} outside [{row['lower']}, {row['upper']}]")


def score_rows_once(content: dict[str, Any], refuse: Refuse) -> None:
    """Of scores: one row per model, dataset, split, metric and group."""
    key = ["model", "dataset", "split", "metric", "group"]
    again = content["table"].duplicated(key)
    if again.any():
        row = content["table"][again].iloc[0]
        refuse("rows", f"one row per {', '.join(key)}", f"{short(tuple(row[key]), 200)} twice")


def _is_control(obs: Any) -> np.ndarray:
    return obs["is_control"].to_numpy() if "is_control" in obs else np.zeros(len(obs), bool)


def _labels(table: Any, column: str) -> np.ndarray:
    return table[column].astype(str).to_numpy()


def _once(table: Any, expected: str, refuse: Refuse) -> None:
    again = table.astype(str).duplicated()
    if again.any():
        refuse("obs", expected, f"{short(tuple(table[again].iloc[0]))} twice")
