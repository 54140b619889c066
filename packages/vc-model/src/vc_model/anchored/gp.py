"""A Gaussian process over conditions: means, lines, features, targets and pairs in one closed-form model.

    d(c, P) = sum_{p in P} f(c, p) + sum_{p < q in P} i(c, p, q)         f, i ~ GP with a sum of kernels

Kernels of f: all alike, similar features of the targets (two kernels per block of features), the same target; each also
within the line alone, and from four lines on between lines with similar control profiles. Kernels of i, which single
targets cannot have: all pairs alike, pairs of similar targets, the same pair. How much each counts is found by maximum
likelihood over all genes together, so a kernel that explains nothing gets no weight. The noise is known: cells of the
condition, and the controls that the conditions of a line share. Per gene, the size of all effects follows a mixture of
scales (adaptive shrinkage, Stephens, Biostatistics 2017), so genes that never respond are left alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.optimize import minimize

from vc_model.baselines.ridge import cosines, squared_distances
from vc_model.effect import Effect
from vc_model.features import FeatureMap, make_features
from vc_model.table import Action, Conditions, EffectTable

SCALES = np.array([0.0, *np.geomspace(1 / 64, 64, 13)])  # of a gene's effects, relative to the common size
EM_STEPS = 60
QUIET = 0.1  # a gene's noise is at least this share of the mean over genes; with few controls it is hardly known
LINES_FOR_CONTEXT = 4  # lines below which similarity of lines cannot be told from their identity
FEW_ROWS = 300  # from so many training rows on, folds keep the kernel weights of the whole table
MAX_ITERATIONS = 50


@dataclass(frozen=True, kw_only=True)
class GPConfig:
    """Choices of the Gaussian process."""

    pairs: bool = True
    """Whether pairs of targets have a term of their own."""
    context: bool = True
    """Whether lines with similar control profiles respond similarly (from four trained lines on)."""
    common: float = 0.5
    """Share of the prediction in which all genes have the common size of effects; the rest has a size per gene."""


@dataclass(frozen=True, eq=False)
class GaussianProcess(Effect):
    """A fitted Gaussian process.

    Attributes:
        basis_pg: [p, g] float32, the training effects solved for, in log1p CP10k.
        lines: The p rows' cell lines.
        actions: The p rows' actions.
        features: Turns targets into vectors; holds the contexts.
        kernels: Names of the kernels in use.
        weight_k: [k] float32, their variances in units of a gene's noise per cell.
        width_b: [b + 1] float32, squared widths of the Gaussian kernels: the feature blocks', then the profiles'.
    """

    basis_pg: np.ndarray
    lines: tuple[str, ...]
    actions: tuple[Action, ...]
    features: FeatureMap
    kernels: tuple[str, ...]
    weight_k: np.ndarray
    width_b: np.ndarray

    def parts(self, conditions: Conditions) -> list[tuple[np.ndarray, np.ndarray]]:
        """Prior covariances of the conditions with the training rows, and the basis."""
        train = Conditions(np.array(self.lines, dtype=object), self.actions, self.features.contexts)
        weight_of = dict(zip(self.kernels, self.weight_k.tolist(), strict=True))
        total_qp = np.zeros((len(conditions), len(train)))
        x, y = make_rows(conditions, self.features), make_rows(train, self.features)
        for name, kernel_qp in covariances(x, y, self.width_b, self.kernels):
            total_qp += weight_of[name] * kernel_qp
        return [(total_qp.astype(np.float32), self.basis_pg)]


@dataclass(frozen=True, eq=False)
class Rows:
    """Conditions taken apart into their n different single targets.

    Attributes:
        singles: The n (line, target, mode, dose) items.
        sum_pn: [p, n] ones where a condition contains an item.
        x_nf: [n, f] features.
        blocks: Columns of each block of features.
        profile_ng: [n, g] control profile of each item's line.
    """

    singles: Conditions
    sum_pn: np.ndarray
    x_nf: np.ndarray
    blocks: dict[str, slice]
    profile_ng: np.ndarray


def make_rows(conditions: Conditions, features: FeatureMap) -> Rows:
    """Take conditions apart."""
    contexts = conditions.contexts_or(features.contexts)
    owner_r, parts = conditions.components()
    pairs = list(zip(parts.cell_line.tolist(), parts.actions, strict=True))
    place = {pair: at for at, pair in enumerate(dict.fromkeys(pairs))}
    singles = Conditions(
        np.array([line for line, _ in place], dtype=object), tuple(action for _, action in place), contexts
    )
    sum_pn = np.zeros((len(conditions), len(place)))
    sum_pn[owner_r, [place[pair] for pair in pairs]] = 1
    profile_ng = contexts.input_cg[contexts.positions(singles.cell_line)]
    return Rows(singles, sum_pn, features.transform(singles).astype(np.float64), features.blocks, profile_ng)


def covariances(
    x: Rows, y: Rows, width_b: np.ndarray, wanted: tuple[str, ...] | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the [rows of x, rows of y] matrix of every kernel that is wanted (by default of all).

    Kernels of pairs are exactly 0 wherever one side has a single target.
    """

    def is_wanted(name: str) -> bool:
        return wanted is None or name in wanted

    line_x, line_y = x.singles.cell_line, y.singles.cell_line
    same_line = line_x[:, None] == line_y
    mode_x, mode_y = (np.array([action.mode for action in rows.singles.actions], dtype=int) for rows in (x, y))
    same_mode = mode_x[:, None] == mode_y
    target_x, target_y = (
        np.array([action.targets[0] for action in rows.singles.actions], dtype=object) for rows in (x, y)
    )
    same_target = (target_x[:, None] == target_y) & same_mode
    dose_x, dose_y = (np.array([np.log1p(action.dose) for action in rows.singles.actions]) for rows in (x, y))
    item_nn = {"all": np.ones(same_line.shape)}
    for at, (block, columns) in enumerate(x.blocks.items()):
        if width_b[at] > 0:
            a, b = x.x_nf[:, columns], y.x_nf[:, columns]
            item_nn[f"{block} near"] = np.exp(-squared_distances(a, b) / width_b[at]) * same_mode
            item_nn[f"{block} alike"] = cosines(a, b) * same_mode
    item_nn["target"] = same_target.astype(np.float64)
    item_nn["target and dose"] = same_target * np.exp(-((dose_x[:, None] - dose_y) ** 2) / 2)
    for name, kernel_nn in item_nn.items():
        if is_wanted(name):
            yield name, x.sum_pn @ kernel_nn @ y.sum_pn.T
        if is_wanted(f"{name}, line"):
            yield f"{name}, line", x.sum_pn @ (kernel_nn * same_line) @ y.sum_pn.T
    if width_b[-1] > 0:
        near_nn = np.exp(-squared_distances(x.profile_ng, y.profile_ng) / width_b[-1])
        for name in ("all", "target"):
            if is_wanted(f"{name}, context"):
                yield f"{name}, context", x.sum_pn @ (item_nn[name] * near_nn) @ y.sum_pn.T
    both_pp = (x.sum_pn.sum(axis=1) > 1)[:, None] & (y.sum_pn.sum(axis=1) > 1)
    if both_pp.any():
        similar = [kernel for name, kernel in item_nn.items() if name.endswith((" near", " alike"))]
        pair_nn = {"pairs": item_nn["all"], "same pair": item_nn["target"], "own pair": item_nn["target"] * same_line}
        if similar:
            pair_nn["similar pairs"] = np.mean(similar, axis=0)
        for name, kernel_nn in pair_nn.items():
            if is_wanted(name):
                yield name, _of_pairs(x, kernel_nn, y) * both_pp


def _of_pairs(x: Rows, item_nn: np.ndarray, y: Rows) -> np.ndarray:
    """Kernel of sums over unordered pairs, sum over a != b and c != d of k(a, c) k(b, d) / 2, by inclusion-exclusion."""
    left_pn, right_np = x.sum_pn @ item_nn, item_nn @ y.sum_pn.T
    diagonal_pp = left_pn**2 @ y.sum_pn.T + x.sum_pn @ right_np**2 - x.sum_pn @ item_nn**2 @ y.sum_pn.T
    return ((left_pn @ y.sum_pn.T) ** 2 - diagonal_pp) / 2


def fit_gp(
    table: EffectTable, config: GPConfig, *, pool: bool, start: GaussianProcess | None = None
) -> GaussianProcess:
    """Fit the Gaussian process.

    Args:
        table: Measured effects, not denoised.
        config: Choices.
        pool: Measure against `reference` and `input` controls together. Not for what is judged on `check_pg`.
        start: A fit on more rows. Its kernel weights are where the search starts, and are kept if this table has at
            least `FEW_ROWS` rows: a dozen numbers that so many conditions agree on say nothing about any one of them.
    """
    share_p = table.n_check_p / (table.n_check_p + table.n_ref_p) if pool else np.zeros(len(table), np.float32)
    delta_pg = table.delta_pg + share_p[:, None] * (table.check_pg - table.delta_pg)
    n_controls_p = (table.n_ref_p + (table.n_check_p if pool else 0)).astype(np.float64)
    sigma2_lg = table.contexts.sigma2_cg[table.contexts.positions(table.trained_lines)].astype(np.float64)
    sigma2_g = sigma2_lg.mean(axis=0)
    sigma2_g = np.maximum(sigma2_g, QUIET * sigma2_g.mean())
    sd_g = np.sqrt(sigma2_g)
    y_pg = delta_pg / sd_g
    # Lines differ in how noisy their cells are; conditions of one line share the noise of its controls.
    noisy_p = (sigma2_lg / sigma2_g).mean(axis=1)[table.line_p]
    shared_p = np.sqrt(noisy_p / n_controls_p)
    noise_pp = np.diag(noisy_p / table.n_cells_p) + np.outer(shared_p, shared_p) * (
        table.line_p[:, None] == table.line_p
    )

    features = make_features(table)
    rows = make_rows(table.conditions, features)
    width_b = _widths(rows, config.context and len(table.trained_lines) >= LINES_FOR_CONTEXT)
    kernels = {
        name: kernel_pp
        for name, kernel_pp in _different(covariances(rows, rows, width_b))
        if config.pairs or "pair" not in name
    }
    if start is not None and len(table) >= FEW_ROWS:
        known = dict(zip(start.kernels, start.weight_k.tolist(), strict=True))
        weight_k = np.array([known.get(name, 0.0) for name in kernels])
    else:
        gram_pp = y_pg @ y_pg.T / y_pg.shape[1]
        weight_k = kernel_weights(list(kernels.values()), noise_pp, gram_pp, _start(kernels, start))
    signal_pp = sum(weight * kernel_pp for weight, kernel_pp in zip(weight_k, kernels.values(), strict=True))
    basis_pg = _solve(signal_pp, noise_pp, y_pg, config.common) * sd_g
    used = weight_k > 1e-6 * weight_k.max()
    used[0] |= not used.any()
    return GaussianProcess(
        basis_pg.astype(np.float32),
        tuple(table.conditions.cell_line.tolist()),
        table.conditions.actions,
        features,
        tuple(name for name, use in zip(kernels, used, strict=True) if use),
        weight_k[used].astype(np.float32),
        width_b.astype(np.float32),
    )


def _start(kernels: dict[str, np.ndarray], start: GaussianProcess | None) -> np.ndarray | None:
    if start is None:
        return None
    known = dict(zip(start.kernels, start.weight_k.tolist(), strict=True))
    least = 1e-4 * max(known.values(), default=1.0)
    return np.array([max(known.get(name, 0.0), least) for name in kernels])


def _widths(rows: Rows, context: bool) -> np.ndarray:
    """Median squared distances of each block of features and of the lines' profiles; 0 where nothing differs."""

    def median(x: np.ndarray) -> float:
        distance = squared_distances(x, x)[np.triu_indices(len(x), 1)]
        distance = distance[distance > 1e-9]
        return float(np.median(distance)) if len(distance) else 0.0

    # Mode and dose have kernels of their own.
    widths = [0.0 if block == "action" else median(rows.x_nf[:, columns]) for block, columns in rows.blocks.items()]
    return np.array([*widths, median(np.unique(rows.profile_ng, axis=0)) if context else 0.0])


def _different(kernels: Iterator[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
    """Leave out kernels that are empty or (up to scale) equal to an earlier one."""
    kept: list[np.ndarray] = []
    for name, kernel_pp in kernels:
        size = float(np.linalg.norm(kernel_pp))
        unit_pp = kernel_pp / size if size > 1e-9 else kernel_pp
        if size > 1e-9 and all(float(np.vdot(unit_pp, other_pp)) < 1 - 1e-9 for other_pp in kept):
            kept.append(unit_pp)
            yield name, kernel_pp


def kernel_weights(
    kernels: list[np.ndarray], noise_pp: np.ndarray, gram_pp: np.ndarray, start_k: np.ndarray | None = None
) -> np.ndarray:
    """Variances of the kernels by maximum likelihood.

    Args:
        kernels: k matrices [p, p].
        noise_pp: [p, p] known covariance of the noise.
        gram_pp: [p, p] mean over genes of the outer products of their effects.
        start_k: Where the search starts.

    Returns:
        [k] float64 >= 0.
    """
    n = len(noise_pp)
    excess = max((np.trace(gram_pp) - np.trace(noise_pp)) / n, 1e-2 * np.trace(noise_pp) / n)
    size_k = np.array([np.trace(kernel_pp) / n for kernel_pp in kernels])
    start_k = excess / len(kernels) / size_k if start_k is None else start_k

    def loss(log_k: np.ndarray) -> tuple[float, np.ndarray]:
        weight_k = np.exp(log_k)
        total_pp = noise_pp + sum(weight * kernel_pp for weight, kernel_pp in zip(weight_k, kernels, strict=True))
        root = scipy.linalg.cho_factor(total_pp, lower=True, check_finite=False)
        inverse_pp = scipy.linalg.cho_solve(root, np.eye(n), check_finite=False)
        solved_pp = inverse_pp @ gram_pp
        value = 2 * np.log(np.diag(root[0])).sum() + np.trace(solved_pp)
        slope_pp = inverse_pp - solved_pp @ inverse_pp
        slope_k = weight_k * [float(np.vdot(slope_pp, kernel_pp)) for kernel_pp in kernels]
        return value / n, slope_k / n

    low, high = np.log(excess / size_k) - 12, np.log(excess / size_k) + 4
    found = minimize(
        loss,
        np.clip(np.log(start_k), low, high),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(low, high, strict=True)),
        options={"maxiter": MAX_ITERATIONS, "ftol": 1e-7},
    )
    return np.where(found.x > low + 1, np.exp(found.x), 0.0)


def _solve(signal_pp: np.ndarray, noise_pp: np.ndarray, y_pg: np.ndarray, common: float) -> np.ndarray:
    """[p, g] what prior covariances are multiplied by: (signal + noise)^-1 y, averaged over scales of the signal."""
    root_pp = np.linalg.cholesky(noise_pp)
    whole_pp = scipy.linalg.solve_triangular(root_pp, signal_pp, lower=True)
    whole_pp = scipy.linalg.solve_triangular(root_pp, whole_pp.T, lower=True)
    value_p, vector_pp = scipy.linalg.eigh((whole_pp + whole_pp.T) / 2)
    value_p = np.maximum(value_p, 0)
    turn_pp = scipy.linalg.solve_triangular(root_pp, vector_pp, lower=True, trans="T").T
    turned_pg = turn_pp @ y_pg
    keep_sp = SCALES[:, None] / (SCALES[:, None] * value_p + 1)
    like_sg = -0.5 * (1 / (SCALES[:, None] * value_p + 1)) @ turned_pg**2
    like_sg -= 0.5 * np.log(SCALES[:, None] * value_p + 1).sum(axis=1, keepdims=True)
    like_sg = np.exp(like_sg - like_sg.max(axis=0))
    share_s = np.full(len(SCALES), 1 / len(SCALES))
    for _ in range(EM_STEPS):
        post_sg = share_s[:, None] * like_sg
        post_sg /= post_sg.sum(axis=0)
        share_s = post_sg.mean(axis=1)
    factor_pg = (1 - common) * (keep_sp.T @ post_sg) + common / (value_p + 1)[:, None]
    return turn_pp.T @ (factor_pg * turned_pg)
