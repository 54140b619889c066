"""A Gaussian process over conditions: means, lines, features, targets and pairs in one closed-form model.

    d(c, P) = sum_{p in P} f(c, p) + sum_{p < q in P} i(c, p, q)         f, i ~ GP with a sum of kernels

Kernels of f: all alike, similar features of the targets (two kernels per block of features), the same target; each also
within the line alone, and from four lines on between lines with similar control profiles. Kernels of i, which single
targets cannot have: all pairs alike, pairs of similar targets, the same pair.

How much each kernel counts is the posterior mode over all genes together. Its prior is that all perturbations do the same:
the share of the variance that any kernel but the first (all alike) takes is exponential, so with few conditions the model
is their mean, and a kernel that explains nothing gets no weight. The noise is known: cells of the condition, and the
controls that the conditions of a line share. Per gene, the size of all effects follows a mixture of scales (adaptive
shrinkage, Stephens, Biostatistics 2017), so genes that never respond are left alone; few conditions cannot tell a gene's
own size, so it counts as far as there are conditions to tell it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, cast

import numpy as np
import scipy.linalg

from vc_model.anchored.kernels import KINDS, Rows, covariances, kind_of, make_rows, weighted_sum
from vc_model.baselines.blup import fit_variances
from vc_model.baselines.ridge import squared_distances
from vc_model.stored import stored
from vc_model.table.components import top_eigen
from vc_model.table.effect import Effect, Parts
from vc_model.table.effects import Action, Conditions, EffectTable
from vc_model.table.features import FeatureMap, make_features

SCALES = np.array([0.0, *np.geomspace(1 / 64, 64, 13)])  # of a gene's effects, relative to the common size
EM_STEPS = 60
QUIET = 0.1  # a gene's noise is at least this share of the mean over genes; with few controls it is hardly known
LINES_FOR_CONTEXT = 4  # lines below which similarity of lines cannot be told from their identity
FEW_ROWS = 300  # from so many training rows on, folds keep the kernel weights of the whole table
ROWS_FOR_WEIGHTS = 1000  # a dozen kernel weights need no more; the solution itself uses every row
LEFT_OUT = 1e-4  # of the variance over training conditions, for the sake of speed
ROWS_FOR_DOUBT = 500  # training rows that the variance is conditioned on, evenly spaced; more can only make it smaller
ROWS_FOR_PRIOR = 64  # conditions whose covariances are made together for the sake of their variances
FREE = ("all", "own")  # kernels without a price: what is the same for all, and what one condition has for itself
LEAST = 0.01  # of the variance that is no noise, which all conditions have in common
MOVED = 0.1  # of a prediction's size that has to be more than the mean of all perturbations


@stored
@dataclass(frozen=True, kw_only=True)
class GPConfig:
    """Choices of the Gaussian process."""

    pairs: bool = True
    """Whether pairs of targets have a term of their own."""
    context: bool = True
    """Whether lines with similar control profiles respond similarly (from four trained lines on)."""
    rate: float = 8.0
    """Rate of the exponential prior of a kernel's share of the variance; 0: maximum likelihood."""
    common_rows: float = 10.0
    """Noise-free conditions that the size of effects that all genes have in common is worth against a gene's own."""


@stored
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
        noise_p: [p] float32, variance of each row's own noise, in units of a gene's noise per cell.
        shared_p: [p] float32, root of the variance of the noise that it shares with the other rows of its line.
        variance_g: [g] float32, (log1p CP10k)^2 that a unit of the kernels stands for.
        code_pr: [p, r] float32, coefficients of the basis in `smooth_rg`, or None (see `shorten`).
        smooth_rg: [r, g] float32 orthonormal directions in which smooth kernels predict, or None.
    """

    basis_pg: np.ndarray
    lines: tuple[str, ...]
    actions: tuple[Action, ...]
    features: FeatureMap
    kernels: tuple[str, ...]
    weight_k: np.ndarray
    width_b: np.ndarray
    noise_p: np.ndarray
    shared_p: np.ndarray
    variance_g: np.ndarray
    code_pr: np.ndarray | None = None
    smooth_rg: np.ndarray | None = None

    @cached_property
    def rows(self) -> Rows:
        """The training conditions, taken apart."""
        lines = np.array(self.lines, dtype=object)
        return make_rows(Conditions(lines, self.actions, self.features.contexts), self.features)

    def parts(self, conditions: Conditions) -> Parts:
        """Prior covariances of the conditions with the training rows, and the basis."""
        return self.ask(conditions).parts

    def ask(self, conditions: Conditions) -> "Answer":
        """Parts of the prediction, what moves it, and its variance; every kernel is made once."""
        x = make_rows(conditions, self.features)
        mean_qp, rest_qp, own_qp = (weighted_sum(x, self.rows, self.width_b, self._weights(kind)) for kind in KINDS)
        code_pr = self.basis_pg if self.code_pr is None else self.code_pr
        if self.smooth_rg is None:
            parts: Parts = [(mean_qp + rest_qp + own_qp, self.basis_pg)]
        else:
            parts = [((mean_qp + rest_qp) @ code_pr, self.smooth_rg), (own_qp, self.basis_pg)]
        moved_qr = (rest_qp - self._of_anybody(conditions)) @ code_pr
        moved_q = np.linalg.norm(moved_qr, axis=1) > MOVED * np.linalg.norm((mean_qp + rest_qp) @ code_pr, axis=1)
        row_k, root_kk = self._conditioned
        seen_qk = (mean_qp + rest_qp + own_qp)[:, row_k]
        told_kq = scipy.linalg.solve_triangular(root_kk, seen_qk.T, lower=True, check_finite=False)
        doubt_q = np.maximum(self._prior(conditions) - np.square(told_kq).sum(axis=0), 0)
        return Answer(parts, moved_q | own_qp.any(axis=1), doubt_q.astype(np.float32))

    def _of_anybody(self, conditions: Conditions) -> np.ndarray:
        """[q, p] what kernels of features say about conditions of the same kind whose targets nobody knows."""
        kinds = [
            (line, Action(tuple(f"?{at}" for at in range(len(action.targets))), action.mode, action.dose))
            for line, action in zip(conditions.cell_line.tolist(), conditions.actions, strict=True)
        ]
        place = {kind: at for at, kind in enumerate(dict.fromkeys(kinds))}
        lines, actions = np.array([line for line, _ in place], dtype=object), tuple(action for _, action in place)
        x = make_rows(Conditions(lines, actions, conditions.contexts), self.features)
        said_np = weighted_sum(x, self.rows, self.width_b, self._weights("features"))
        return said_np[[place[kind] for kind in kinds]]

    def _prior(self, conditions: Conditions) -> np.ndarray:
        """[q] variance of the conditions before anything was measured."""
        weights, found = dict(zip(self.kernels, self.weight_k.tolist(), strict=True)), [np.zeros(0, np.float32)]
        for start in range(0, len(conditions), ROWS_FOR_PRIOR):
            x = make_rows(conditions.subset(slice(start, start + ROWS_FOR_PRIOR)), self.features)
            found.append(np.diagonal(weighted_sum(x, x, self.width_b, weights)))
        return np.concatenate(found)

    @cached_property
    def _conditioned(self) -> tuple[np.ndarray, np.ndarray]:
        """Training rows that the variance is conditioned on, and the Cholesky root of the covariance of their effects."""
        row_k = np.linspace(0, len(self.lines) - 1, min(len(self.lines), ROWS_FOR_DOUBT)).astype(np.int64)
        line_k = np.array(self.lines, dtype=object)[row_k]
        x = make_rows(
            Conditions(line_k, tuple(self.actions[row] for row in row_k), self.features.contexts), self.features
        )
        weights = dict(zip(self.kernels, self.weight_k.tolist(), strict=True))
        total_kk = weighted_sum(x, x, self.width_b, weights).astype(np.float64)
        shared_k = self.shared_p[row_k].astype(np.float64)
        total_kk += np.diag(self.noise_p[row_k]) + np.outer(shared_k, shared_k) * (line_k[:, None] == line_k)
        return row_k, np.linalg.cholesky(total_kk).astype(np.float32)

    def _weights(self, *kinds: str) -> dict[str, float]:
        named = zip(self.kernels, self.weight_k.tolist(), strict=True)
        return {name: weight for name, weight in named if kind_of(name) in kinds}


@dataclass(frozen=True, eq=False)
class Answer:
    """What the Gaussian process says about q conditions.

    Attributes:
        parts: Weights and bases of the predicted effects.
        moved_q: [q] bool, whether anything known of the condition moves its prediction away from that for targets of which
            nothing is known: they were perturbed, or what is known about them makes at least `MOVED` of its size.
        doubt_q: [q] float32, variance of the effect given the training effects; times `variance_g` for a gene.
    """

    parts: Parts
    moved_q: np.ndarray
    doubt_q: np.ndarray


def shorten(fitted: GaussianProcess) -> GaussianProcess:
    """The same Gaussian process, quicker to ask: what smooth kernels say is kept in its main directions over genes.

    Left out is `LEFT_OUT` of the variance that smooth kernels give to the training conditions. Covariances with one and
    the same target, zero for any target that was not perturbed, stay as they are.
    """
    train = Conditions(np.array(fitted.lines, dtype=object), fitted.actions, fitted.features.contexts)
    smooth = fitted._weights("mean", "features")
    smooth_pp = weighted_sum(make_rows(train, fitted.features), fitted.rows, fitted.width_b, smooth)
    said_pg = smooth_pp @ fitted.basis_pg
    value_r, vector_pr = top_eigen((said_pg @ said_pg.T).astype(np.float64), len(said_pg))
    if len(value_r) == 0:
        return fitted
    keep = 1 + int(np.searchsorted(np.cumsum(value_r), (1 - LEFT_OUT) * value_r.sum()))
    smooth_rg = (vector_pr[:, :keep] / np.sqrt(value_r[:keep])).T.astype(np.float32) @ said_pg
    return replace(fitted, code_pr=fitted.basis_pg @ smooth_rg.T, smooth_rg=smooth_rg)


def fit_gp(
    table: EffectTable,
    config: GPConfig,
    *,
    start: GaussianProcess | None = None,
    features: FeatureMap | None = None,
) -> GaussianProcess:
    """Fit the Gaussian process.

    Args:
        table: Measured effects, not denoised.
        config: Choices.
        start: A fit on more rows. Its kernel weights are where the search starts, and are kept if this table has at
            least `FEW_ROWS` rows: a dozen numbers that so many conditions agree on say nothing about any one of them.
        features: Of targets; by default fitted on this table.
    """
    n_controls_p = table.n_controls_p.astype(np.float64)
    sigma2_lg = table.contexts.sigma2_cg[table.contexts.positions(table.trained_lines)].astype(np.float64)
    sigma2_g = sigma2_lg.mean(axis=0)
    sigma2_g = np.maximum(sigma2_g, QUIET * sigma2_g.mean())
    sd_g = np.sqrt(sigma2_g)
    y_pg = table.delta_pg / sd_g
    # Lines differ in how noisy their cells are; conditions of one line share the noise of its controls.
    noisy_p = (sigma2_lg / sigma2_g).mean(axis=1)[table.line_p]
    shared_p = np.sqrt(noisy_p / n_controls_p)
    noise_pp = np.diag(noisy_p / table.n_cells_p) + np.outer(shared_p, shared_p) * (
        table.line_p[:, None] == table.line_p
    )

    features = make_features(table) if features is None else features
    rows = make_rows(table.conditions, features)
    width_b = _widths(rows, config.context and len(table.trained_lines) >= LINES_FOR_CONTEXT)
    if start is not None and len(table) >= FEW_ROWS:
        weight_of = dict(zip(start.kernels, start.weight_k.tolist(), strict=True))
    else:
        at = _rows_for_weights(table.conditions)
        few = rows if len(at) == len(table) else make_rows(table.conditions.subset(at), features)
        weight_of = _find_weights(few, width_b, noise_pp[np.ix_(at, at)], y_pg[at], config, start)
    signal_pp = weighted_sum(rows, rows, width_b, weight_of).astype(np.float64)
    basis_pg, size_g = _solve(signal_pp, noise_pp, y_pg, config.common_rows)
    largest = max(weight_of.values())
    weight_of = {name: weight for name, weight in weight_of.items() if weight > 1e-6 * largest or weight == largest}
    return GaussianProcess(
        (basis_pg * sd_g).astype(np.float32),
        tuple(table.conditions.cell_line.tolist()),
        table.conditions.actions,
        features,
        tuple(weight_of),
        np.array(list(weight_of.values()), dtype=np.float32),
        width_b.astype(np.float32),
        (noisy_p / table.n_cells_p).astype(np.float32),
        shared_p.astype(np.float32),
        (size_g * sigma2_g).astype(np.float32),
    )


def _rows_for_weights(conditions: Conditions) -> np.ndarray:
    """Rows on which kernel weights are found: all, or those of randomly drawn targets, so that lines keep them in common."""
    if len(conditions) <= ROWS_FOR_WEIGHTS:
        return np.arange(len(conditions))
    targets = sorted({target for action in conditions.actions for target in action.targets})
    place = dict(zip(targets, np.random.default_rng(0).permutation(len(targets)).tolist(), strict=True))
    # A combination comes with the later of its targets.
    last_p = np.array([max((place[target] for target in action.targets), default=0) for action in conditions.actions])
    return np.sort(np.argsort(last_p, kind="stable")[:ROWS_FOR_WEIGHTS])


def _find_weights(
    rows: Rows,
    width_b: np.ndarray,
    noise_pp: np.ndarray,
    y_pg: np.ndarray,
    config: GPConfig,
    start: GaussianProcess | None,
) -> dict[str, float]:
    """Name -> weight of every kernel that is not like another one."""
    found = _different(covariances(rows, rows, width_b))
    kernels = {name: kernel_pp for name, kernel_pp in found if config.pairs or "pair" not in name}
    rate_k = config.rate * np.array([name not in FREE for name in kernels])
    # However little they have in common, it is the best guess of a direction.
    least_k = LEAST * np.array([name == "all" for name in kernels])
    gram_pp = y_pg @ y_pg.T / y_pg.shape[1]
    weight_k = fit_variances(list(kernels.values()), noise_pp, gram_pp, _start(kernels, start), rate_k, least_k)
    return dict(zip(kernels, weight_k.tolist(), strict=True))


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
    profiles = np.unique(rows.profile_lg[np.unique(rows.profile_n)], axis=0)
    return np.array([*widths, median(profiles) if context else 0.0])


def _different(kernels: Iterator[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
    """Leave out kernels that are empty or (up to scale) equal to an earlier one."""
    kept: list[np.ndarray] = []
    for name, kernel_pp in kernels:
        size = float(np.linalg.norm(kernel_pp))
        unit_pp = kernel_pp / size if size > 1e-9 else kernel_pp
        if size > 1e-9 and all(float(np.vdot(unit_pp, other_pp)) < 1 - 1e-9 for other_pp in kept):
            kept.append(unit_pp)
            yield name, kernel_pp


def _solve(
    signal_pp: np.ndarray, noise_pp: np.ndarray, y_pg: np.ndarray, common_rows: float
) -> tuple[np.ndarray, np.ndarray]:
    """[p, g] what prior covariances are multiplied by: (signal + noise)^-1 y, averaged over scales of the signal; [g] scale."""
    root_pp = np.linalg.cholesky(noise_pp)
    whole_pp = _solve_lower(root_pp, _solve_lower(root_pp, signal_pp).T)
    found = scipy.linalg.eigh((whole_pp + whole_pp.T) / 2)
    value_p, vector_pp = cast("tuple[np.ndarray, np.ndarray]", found)
    value_p = np.maximum(value_p, 0)
    # Conditions tell a gene's own size as far as they are above the noise: the degrees of freedom of the signal.
    common = common_rows / (common_rows + (value_p / (value_p + 1)).sum())
    turn_pp = _solve_lower(root_pp, vector_pp, trans="T").T
    # A gene's numbers need no double precision, and half as much of it takes half the time.
    turn_pp = turn_pp.astype(np.float32)
    turned_pg = turn_pp @ y_pg.astype(np.float32)
    keep_sp = SCALES[:, None] / (SCALES[:, None] * value_p + 1)
    like_sg = -0.5 * (1 / (SCALES[:, None] * value_p + 1)) @ turned_pg**2
    like_sg -= 0.5 * np.log(SCALES[:, None] * value_p + 1).sum(axis=1, keepdims=True)
    like_sg = np.exp(like_sg - like_sg.max(axis=0))
    share_s = np.full(len(SCALES), 1 / len(SCALES))
    post_sg = like_sg
    for _ in range(EM_STEPS):
        post_sg = share_s[:, None] * like_sg
        post_sg /= post_sg.sum(axis=0)
        share_s = post_sg.mean(axis=1)
    factor_pg = ((1 - common) * (keep_sp.T @ post_sg) + common / (value_p + 1)[:, None]).astype(np.float32)
    return turn_pp.T @ (factor_pg * turned_pg), (1 - common) * (SCALES @ post_sg) + common


def _solve_lower(root_pp: np.ndarray, right_pn: np.ndarray, trans: Literal["N", "T"] = "N") -> np.ndarray:
    return np.asarray(scipy.linalg.solve_triangular(root_pp, right_pn, lower=True, trans=trans))
