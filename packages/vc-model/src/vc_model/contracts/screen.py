"""screen-v1 and splits-v1: the cells of a screen and what is held out of it.

A `Screen` keeps its tables in memory and its counts on disk; `rows` reads a slice of cells. So a held-out condition is
never even read while a model is fitted.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vc_model.contracts.header import check_header, refusal
from vc_model.errors import ContractError

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse as sp

CONTROL = "control"
PARTS = ("train", "val", "test", "unused")
CONTROL_ROLES = ("input", "reference", "evaluation")
OBS_COLUMNS = ("perturbation", "target", "cell_line", "batch", "is_control", "mode", "dose", "total_counts", "dataset")
VAR_COLUMNS = ("gene_id", "symbol", "measured")
VALUES_PER_BLOCK = 4_000_000  # stored counts checked or read at a time; bounds memory at about 50 MB


@dataclass(frozen=True)
class Screen:
    """An open screen-v1 file.

    Attributes:
        path: Where it lies.
        header: The contract header.
        obs: One row per cell, the contract's columns.
        var: One row per gene.
        groups: (cell_line, perturbation, batch, start, stop), tiling the rows.
        indptr_n: [n + 1] int64, where each cell's counts start.
    """

    path: Path
    header: dict
    obs: "pd.DataFrame"
    var: "pd.DataFrame"
    groups: "pd.DataFrame"
    indptr_n: np.ndarray

    def rows(self, start: int, stop: int) -> "sp.csr_matrix":
        """Raw counts of the cells `start:stop`, [stop - start, g] CSR float32."""
        import scipy.sparse as sp

        with _open(self.path) as store:
            a, b = int(self.indptr_n[start]), int(self.indptr_n[stop])
            return sp.csr_matrix(
                (store["X/data"][a:b].astype(np.float32), store["X/indices"][a:b], self.indptr_n[start : stop + 1] - a),
                shape=(stop - start, len(self.var)),
            )

    def blocks(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Cut `start:stop` into row ranges of at most about four million stored counts."""
        while start < stop:
            limit = self.indptr_n[start] + VALUES_PER_BLOCK
            end = int(np.clip(np.searchsorted(self.indptr_n, limit, side="right") - 1, start + 1, stop))
            yield start, end
            start = end


@dataclass(frozen=True)
class Splits:
    """A splits-v1 file: `parts` maps (cell_line, perturbation) to its part, `controls` a role to cell names."""

    path: Path
    header: dict
    recipe: str
    seed: int
    parts: dict[tuple[str, str], str]
    controls: dict[str, tuple[str, ...]]


def read_screen(path: Path | str) -> Screen:
    """Open and check a screen.

    Args:
        path: A zarr folder or an `.h5ad` file.

    Returns:
        The screen; counts stay on disk.

    Raises:
        ContractError: For every refusal of docs/contracts/screen-v1.md.
    """
    path = Path(path)
    try:
        return _read_screen(path)
    except (ContractError, PermissionError, MemoryError):
        raise
    except Exception as error:  # zarr, h5py and anndata each raise their own kinds for a damaged file
        raise refusal(path, "file", "an AnnData that can be read", f"damage ({error})") from error


def read_splits(path: Path | str, screen: Screen) -> Splits:
    """Read a split and check it against its screen.

    Args:
        path: The JSON file.
        screen: The screen it cuts.

    Raises:
        ContractError: For every refusal of docs/contracts/splits-v1.md.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise refusal(path, "file", "JSON", f"something else ({error})") from error
    if not isinstance(content, dict):
        raise refusal(path, "file", "a JSON object", type(content).__name__)
    header = check_header(path, content.get("contract"), "splits")
    for key, kind in (("recipe", str), ("seed", int), ("conditions", list), ("controls", dict)):
        if not isinstance(content.get(key), kind):
            raise refusal(path, key, kind.__name__, repr(content.get(key))[:80])
    if not content["recipe"]:
        raise refusal(path, "recipe", "the name of a recipe", "an empty string")
    parts = _check_conditions(path, content["conditions"], screen)
    controls = _check_controls(path, content["controls"], screen)
    return Splits(path, header, content["recipe"], content["seed"], parts, controls)


def _read_screen(path: Path) -> Screen:
    from anndata.io import read_elem

    with _open(path) as store:
        for key in ("X", "obs", "var", "uns"):
            if key not in store:
                raise refusal(path, key, "an AnnData element", "nothing")
        uns = {key: read_elem(store[f"uns/{key}"]) for key in ("contract", "groups") if key in store["uns"]}
        if "contract" not in uns:
            raise refusal(path, 'uns["contract"]', "a JSON object with name and version", "nothing")
        header = check_header(path, uns["contract"], "screen")
        obs, var = read_elem(store["obs"]), read_elem(store["var"])
        _check_obs(path, obs)
        _check_var(path, var)
        indptr_n = _check_counts(path, store["X"], obs, len(var))
    if "groups" not in uns:
        raise refusal(path, 'uns["groups"]', "a data frame of row ranges", "nothing")
    _check_groups(path, uns["groups"], obs)
    return Screen(path, header, obs, var, uns["groups"], indptr_n)


def _open(path: Path):
    if path.is_dir():
        import zarr

        try:
            return _Group(zarr.open_group(path, mode="r"))
        except (FileNotFoundError, KeyError, ValueError) as error:
            raise refusal(path, "file", "an AnnData in zarr v3", f"a folder zarr cannot open ({error})") from error
    if not path.exists():
        raise refusal(path, "file", "a screen (.zarr or .h5ad)", "nothing", "Check the path.")
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise refusal(path, "file", "an AnnData as .zarr or .h5ad", f"a file HDF5 cannot open ({error})") from error


class _Group:
    """A zarr group with the `with` block that h5py files have."""

    def __init__(self, group) -> None:
        self.group = group

    def __enter__(self):
        return self.group

    def __exit__(self, *error) -> None:
        return None


def _check_obs(path: Path, obs: "pd.DataFrame") -> None:
    for column in OBS_COLUMNS:
        if column not in obs:
            raise refusal(path, f'obs["{column}"]', "a column", "nothing")
    _check_unique(path, "obs index", obs.index)
    for column in ("perturbation", "target", "cell_line", "batch"):
        if obs[column].isna().any():
            raise refusal(path, f'obs["{column}"]', "a label in every row", "missing labels")
    control_n = (obs["perturbation"].astype(str) == CONTROL).to_numpy()
    if obs["is_control"].dtype != bool or not np.array_equal(obs["is_control"].to_numpy(), control_n):
        raise refusal(
            path, 'obs["is_control"]', 'bool, true exactly where perturbation is "control"', "rows where they disagree"
        )
    if not control_n.any():
        raise refusal(
            path, 'obs["perturbation"]', "at least one control cell", "none", "Convert with the control label set."
        )
    if control_n.all():
        raise refusal(path, 'obs["perturbation"]', "at least one perturbed cell", "controls only")
    mode_n = obs["mode"].to_numpy()
    if mode_n.dtype.kind not in "iu" or mode_n.min() < 0 or mode_n.max() > 8:
        raise refusal(path, 'obs["mode"]', "integers in 0..8", f"{mode_n.dtype} from {mode_n.min()} to {mode_n.max()}")


def _check_var(path: Path, var: "pd.DataFrame") -> None:
    for column in VAR_COLUMNS:
        if column not in var:
            raise refusal(path, f'var["{column}"]', "a column", "nothing")
    _check_unique(path, "var index", var.index)
    if var["measured"].dtype != bool:
        raise refusal(path, 'var["measured"]', "bool", str(var["measured"].dtype))


def _check_unique(path: Path, field: str, index: "pd.Index") -> None:
    if not index.is_unique:
        offenders = index[index.duplicated()].unique()
        raise refusal(path, field, "unique names", f"{len(offenders)} repeated, e.g. {list(offenders[:5])!r}")


def _check_counts(path: Path, x, obs: "pd.DataFrame", n_genes: int) -> np.ndarray:
    if x.attrs.get("encoding-type") != "csr_matrix":
        raise refusal(path, "X", "CSR", repr(x.attrs.get("encoding-type", "a dense array")))
    shape = tuple(int(size) for size in x.attrs["shape"])
    if shape != (len(obs), n_genes):
        raise refusal(path, "X", f"shape {(len(obs), n_genes)}, as obs and var", str(shape))
    indptr_n = np.asarray(x["indptr"][:]).astype(np.int64)
    if len(indptr_n) != len(obs) + 1 or indptr_n[0] != 0 or (np.diff(indptr_n) < 0).any():
        raise refusal(path, "X/indptr", f"{len(obs) + 1} rising offsets", f"{len(indptr_n)} that are not")
    if indptr_n[-1] != x["data"].shape[0] or x["indices"].shape != x["data"].shape:
        raise refusal(path, "X", f"{indptr_n[-1]} stored counts", f"{x['data'].shape[0]}")
    for a in range(0, int(indptr_n[-1]), VALUES_PER_BLOCK):
        # One value of overlap, so that the order of columns is checked across the cut too.
        b = min(a + VALUES_PER_BLOCK + 1, int(indptr_n[-1]))
        _check_block(path, x["data"][a:b], x["indices"][a:b], indptr_n[(indptr_n > a) & (indptr_n < b)] - a, n_genes)
    total_n = obs["total_counts"].to_numpy(dtype=np.float64)
    if not np.isfinite(total_n).all() or (total_n <= 0).any():
        raise refusal(path, 'obs["total_counts"]', "finite library sizes > 0", "values that are not")
    return indptr_n


def _check_block(path: Path, data: np.ndarray, indices: np.ndarray, row_starts: np.ndarray, n_genes: int) -> None:
    if not np.isfinite(data).all():
        raise refusal(path, "X", "finite counts", "NaN or infinity")
    if (data < 0).any() or (data != np.floor(data)).any():
        raise refusal(
            path,
            "X",
            "raw counts (integers >= 0)",
            "negative or fractional values",
            "Convert from raw, not normalised, counts.",
        )
    if (data == 0).any():
        raise refusal(path, "X", "no stored zeros", "stored zeros")
    if len(indices) and (indices.min() < 0 or indices.max() >= n_genes):
        raise refusal(path, "X/indices", f"columns in 0..{n_genes - 1}", f"{indices.min()}..{indices.max()}")
    rising = np.diff(indices.astype(np.int64)) > 0
    rising[row_starts - 1] = True
    if not rising.all():
        raise refusal(path, "X/indices", "sorted columns, each once per row", "unsorted or repeated columns")


def _check_groups(path: Path, groups: "pd.DataFrame", obs: "pd.DataFrame") -> None:
    keys = ["cell_line", "perturbation", "batch"]
    for column in (*keys, "start", "stop"):
        if column not in groups:
            raise refusal(path, f'uns["groups"]["{column}"]', "a column", "nothing")
    start, stop = groups["start"].to_numpy(), groups["stop"].to_numpy()
    tiles = len(groups) > 0 and start[0] == 0 and stop[-1] == len(obs)
    if not (tiles and (start[1:] == stop[:-1]).all() and (stop > start).all()):
        raise refusal(
            path, 'uns["groups"]', f"ranges that tile 0..{len(obs)} in order", "gaps, overlaps or empty ranges"
        )
    size = stop - start
    for column in keys:
        if not np.array_equal(
            np.repeat(groups[column].astype(str).to_numpy(), size), obs[column].astype(str).to_numpy()
        ):
            raise refusal(path, 'uns["groups"]', f'the same {column} as obs["{column}"]', "rows where they differ")
    if groups[keys].astype(str).duplicated().any():
        raise refusal(path, 'uns["groups"]', "each (cell_line, perturbation, batch) once", "repeated groups")


def _check_conditions(path: Path, conditions: list, screen: Screen) -> dict[tuple[str, str], str]:
    parts: dict[tuple[str, str], str] = {}
    for row in conditions:
        if not isinstance(row, dict) or not {"cell_line", "perturbation", "part"} <= set(row):
            raise refusal(path, "conditions", "objects with cell_line, perturbation and part", repr(row)[:80])
        key = (row["cell_line"], row["perturbation"])
        if row["part"] not in PARTS:
            raise refusal(path, f"conditions{key}", f"a part in {PARTS}", repr(row["part"]))
        if key in parts:
            raise refusal(path, "conditions", "each condition once", f"{key} twice")
        parts[key] = row["part"]
    held = screen.groups[screen.groups["perturbation"].astype(str) != CONTROL]
    in_screen = set(zip(held["cell_line"].astype(str), held["perturbation"].astype(str), strict=True))
    for found, what in (
        (set(parts) - in_screen, "conditions of the screen"),
        (in_screen - set(parts), "every condition of the screen"),
    ):
        if found:
            verb = "not in the screen" if found <= set(parts) else "missing from the split"
            raise refusal(
                path,
                "conditions",
                what,
                f"{len(found)} {verb}, e.g. {sorted(found)[:5]}",
                "Split this very screen again.",
            )
    for part in ("train", "test"):
        if part not in parts.values():
            raise refusal(path, "conditions", f"at least one {part} condition", "none")
    return parts


def _check_controls(path: Path, controls: dict, screen: Screen) -> dict[str, tuple[str, ...]]:
    is_control = dict(zip(screen.obs.index, screen.obs["is_control"], strict=True))
    seen: set[str] = set()
    for role in CONTROL_ROLES:
        names = controls.get(role)
        if not isinstance(names, list) or not names:
            raise refusal(path, f"controls.{role}", "a list of control cells", repr(names)[:80])
        foreign = [name for name in names if not is_control.get(name, False)]
        if foreign:
            raise refusal(
                path, f"controls.{role}", "control cells of the screen", f"{len(foreign)} others, e.g. {foreign[:5]!r}"
            )
        if len(set(names)) < len(names) or seen & set(names):
            raise refusal(path, f"controls.{role}", "no cell in two control sets or twice", "shared cells")
        seen |= set(names)
    return {role: tuple(controls[role]) for role in CONTROL_ROLES}
