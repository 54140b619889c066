"""Kernels between conditions, for the Gaussian process: of single targets, summed over targets, and of pairs of targets.

Kernels say that all targets are alike, compare what is known about them, or ask whether a target is the very same one; a
target that was never perturbed has zeros in the last (`kind_of`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from vc_model.baselines.ridge import cosines, squared_distances
from vc_model.table.effects import Conditions
from vc_model.table.features import FeatureMap

ROWS_AT_ONCE = 256  # so that what is worked on stays in the cache
PAIRS = ("pairs", "same pair", "own pair", "similar pairs")


KINDS = ("mean", "features", "target")


def kind_of(name: str) -> str:
    """What a kernel compares: nothing (all perturbations of a kind are alike), what is known about targets, or who they are."""
    if name == "pairs" or name.startswith("all"):
        return "mean"
    return "target" if name.startswith("target") or name in ("own", "same pair", "own pair") else "features"


@dataclass(frozen=True, eq=False)
class Rows:
    """Conditions taken apart into their n different single targets.

    Attributes:
        line_n: [n] str, line of each (line, target, mode, dose) item.
        target_n: [n] str.
        mode_n: [n] int.
        log_dose_n: [n] log1p of the dose.
        x_nf: [n, f] features.
        blocks: Columns of each block of features.
        profile_lg: [l, v] what describes the lines: control profiles, or vectors from outside.
        profile_n: [n] each item's row of them.
        sum_pn: [p, n] sparse ones where a condition contains an item.
        plain: Whether that matrix is the identity.
    """

    line_n: np.ndarray
    target_n: np.ndarray
    mode_n: np.ndarray
    log_dose_n: np.ndarray
    x_nf: np.ndarray
    blocks: dict[str, slice]
    profile_lg: np.ndarray
    profile_n: np.ndarray
    sum_pn: sp.csr_array
    plain: bool

    def items(self, some: slice) -> "Rows":
        """Some of the items; the sums over them are left behind."""
        names = ("line_n", "target_n", "mode_n", "log_dose_n", "x_nf", "profile_n")
        return replace(self, **{name: getattr(self, name)[some] for name in names})


def make_rows(conditions: Conditions, features: FeatureMap) -> Rows:
    """Take conditions apart."""
    contexts = conditions.contexts_or(features.contexts)
    owner_r, parts = conditions.components()
    pairs = list(zip(parts.cell_line.tolist(), parts.actions, strict=True))
    place = {pair: at for at, pair in enumerate(dict.fromkeys(pairs))}
    place_r = np.array([place[pair] for pair in pairs], dtype=np.int64)
    actions = tuple(action for _, action in place)
    singles = Conditions(np.array([line for line, _ in place], dtype=object), actions, contexts)
    n = len(place)
    return Rows(
        singles.cell_line,
        np.array([action.targets[0] for action in actions], dtype=str),
        np.array([action.mode for action in actions], dtype=np.int64),
        np.log1p(np.array([action.dose for action in actions])),
        features.transform(singles).astype(np.float64),
        features.blocks,
        contexts.describing_cv,
        contexts.positions(singles.cell_line),
        sp.csr_array((np.ones(len(owner_r)), (owner_r, place_r)), shape=(len(conditions), n)),
        len(conditions) == len(owner_r) == n,
    )


def covariances(
    x: Rows, y: Rows, width_b: np.ndarray, wanted: tuple[str, ...] | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the [rows of x, rows of y] matrix of every kernel that is wanted (by default of all).

    Kernels of pairs are exactly 0 wherever one side has a single target.
    """
    for name, kernel_nn in _of_items(x, y, width_b, wanted):
        yield name, _sum(x, kernel_nn, y)
    yield from _of_pairs(x, y, width_b, wanted)


def weighted_sum(x: Rows, y: Rows, width_b: np.ndarray, weight_of: Mapping[str, float]) -> np.ndarray:
    """[rows of x, rows of y] float32 weighted sum of kernels, made in pieces."""
    n = len(x.x_nf)
    x, y = (replace(rows, x_nf=rows.x_nf.astype(np.float32)) for rows in (x, y))
    width_b = width_b.astype(np.float32)
    total_nn = np.zeros((n, len(y.x_nf)), dtype=np.float32)
    for start in range(0, n, ROWS_AT_ONCE):
        some = slice(start, start + ROWS_AT_ONCE)
        for name, kernel_nn in _of_items(x.items(some), y, width_b, tuple(weight_of)):
            total_nn[some] += np.float32(weight_of[name]) * kernel_nn
    total_pp = _sum(x, total_nn, y)
    for name, kernel_pp in _of_pairs(x, y, width_b, tuple(weight_of)):
        total_pp = total_pp + weight_of[name] * kernel_pp
    return total_pp.astype(np.float32, copy=False)


def _of_items(
    x: Rows, y: Rows, width_b: np.ndarray, wanted: tuple[str, ...] | None
) -> Iterator[tuple[str, np.ndarray]]:
    """Kernels of single targets, each everywhere, within the line, and between lines with similar control profiles."""
    same_line = _same(x.line_n, y.line_n)
    near_nn = None
    if width_b[-1] > 0:
        near_ll = np.exp(-squared_distances(x.profile_lg, y.profile_lg) / width_b[-1])
        near_nn = near_ll[np.ix_(x.profile_n, y.profile_n)]
    for name in _names(x, width_b):
        if wanted is None or name in wanted or f"{name}, line" in wanted:
            kernel_nn = _item_kernel(name, x, y, width_b)
            if wanted is None or name in wanted:
                yield name, kernel_nn
            if wanted is None or f"{name}, line" in wanted:
                yield f"{name}, line", kernel_nn * same_line
    for name in ("all", "target"):
        if near_nn is not None and (wanted is None or f"{name}, context" in wanted):
            yield f"{name}, context", _item_kernel(name, x, y, width_b) * near_nn


def _names(x: Rows, width_b: np.ndarray) -> list[str]:
    blocks = [block for at, block in enumerate(x.blocks) if width_b[at] > 0]
    return [
        "all",
        "own",
        *(f"{block} {kind}" for block in blocks for kind in ("near", "alike")),
        "target",
        "target and dose",
    ]


def _item_kernel(name: str, x: Rows, y: Rows, width_b: np.ndarray) -> np.ndarray:
    if name == "all":
        return np.ones((len(x.x_nf), len(y.x_nf)))
    same_mode = x.mode_n[:, None] == y.mode_n
    if name == "own":
        same = _same(x.target_n, y.target_n) & same_mode & _same(x.line_n, y.line_n)
        return (same & (x.log_dose_n[:, None] == y.log_dose_n)).astype(np.float64)
    if name.startswith("target"):
        same_nn = (_same(x.target_n, y.target_n) & same_mode).astype(np.float64)
        if name == "target":
            return same_nn
        return same_nn * np.exp(-((x.log_dose_n[:, None] - y.log_dose_n) ** 2) / 2)
    block, kind = name.rsplit(" ", 1)
    a, b = x.x_nf[:, x.blocks[block]], y.x_nf[:, y.blocks[block]]
    if kind == "near":
        kernel_nn = squared_distances(a, b)
        kernel_nn /= -width_b[list(x.blocks).index(block)]
        np.exp(kernel_nn, out=kernel_nn)
    else:
        kernel_nn = cosines(a, b)
    return kernel_nn if same_mode.all() else kernel_nn * same_mode


def _of_pairs(
    x: Rows, y: Rows, width_b: np.ndarray, wanted: tuple[str, ...] | None
) -> Iterator[tuple[str, np.ndarray]]:
    both_pp = (x.sum_pn.sum(axis=1) > 1)[:, None] & (y.sum_pn.sum(axis=1) > 1)
    if not both_pp.any():
        return
    for name in PAIRS:
        if wanted is not None and name not in wanted:
            continue
        if name == "pairs":
            kernel_nn = _item_kernel("all", x, y, width_b)
        elif name == "similar pairs":
            similar = [known for known in _names(x, width_b) if known.endswith((" near", " alike"))]
            if not similar:
                continue
            kernel_nn = np.mean([_item_kernel(known, x, y, width_b) for known in similar], axis=0)
        else:
            kernel_nn = _item_kernel("target", x, y, width_b)
            if name == "own pair":
                kernel_nn = kernel_nn * _same(x.line_n, y.line_n)
        yield name, _over_pairs(x, kernel_nn, y) * both_pp


def _over_pairs(x: Rows, item_nn: np.ndarray, y: Rows) -> np.ndarray:
    """Kernel of sums over unordered pairs, sum over a != b and c != d of k(a, c) k(b, d) / 2, by inclusion-exclusion."""
    left_pn: np.ndarray = x.sum_pn @ item_nn
    right_np: np.ndarray = (y.sum_pn @ item_nn.T).T
    diagonal_pp = (y.sum_pn @ (left_pn**2).T).T + x.sum_pn @ right_np**2 - _sum(x, item_nn**2, y)
    return (_sum(x, item_nn, y) ** 2 - diagonal_pp) / 2


def _sum(x: Rows, item_nn: np.ndarray, y: Rows) -> np.ndarray:
    """Kernel of sums over the items of each condition."""
    left_pn = item_nn if x.plain else x.sum_pn @ item_nn
    return left_pn if y.plain else (y.sum_pn @ left_pn.T).T


def _same(a_n: np.ndarray, b_n: np.ndarray) -> np.ndarray:
    """[a, b] bool, equality of names, compared as numbers."""
    code_n = np.unique(np.concatenate([a_n, b_n]), return_inverse=True)[1]
    return code_n[: len(a_n), None] == code_n[len(a_n) :]
