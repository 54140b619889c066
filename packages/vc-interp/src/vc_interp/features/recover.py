"""Residual attribution: do the few features that a perturbation moves most point to the genes it changes?

For every perturbation the m features with the largest change (in units of their standard deviation) are decoded to genes, and
genes are ranked by the size of that; the area under the precision-recall curve (average precision) is against the genes that
measurably change. Beside it the same with principal components, independent components and random directions of the same
number on the same activations: a dictionary that says no more than these has learnt no better units.
"""

from dataclasses import dataclass

import numpy as np

from vc_interp.errors import InputError

METHODS = ("sae", "pca", "ica", "random")


@dataclass(frozen=True, eq=False)
class Directions:
    """A linear dictionary: directions, and what codes of rows are.

    Attributes:
        name: One of `METHODS`.
        dec_kd: [k, d] directions.
        read_dk: [d, k] codes of centred activations are `x @ read_dk`.
    """

    name: str
    dec_kd: np.ndarray
    read_dk: np.ndarray


def make_directions(name: str, x_nd: np.ndarray, k: int, seed: int = 0) -> Directions:
    """PCA, ICA (FastICA) or random directions on activations; PCA and ICA have at most d.

    Raises:
        InputError: If the name is unknown.
    """
    d = x_nd.shape[1]
    centred_nd = x_nd.astype(np.float64) - x_nd.mean(axis=0)
    if name == "random":
        rng = np.random.default_rng([seed, 7])
        directions = rng.standard_normal((k, d))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return Directions(name, directions, np.linalg.pinv(directions))
    if name == "pca":
        _, _, axes_kd = np.linalg.svd(centred_nd, full_matrices=False)
        axes_kd = axes_kd[: min(k, d)]
        return Directions(name, axes_kd, axes_kd.T)
    if name == "ica":
        import warnings

        from sklearn.decomposition import FastICA

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged: its directions are a baseline all the same
            rank = int(np.linalg.matrix_rank(centred_nd))
            model = FastICA(min(k, rank), random_state=seed, whiten="unit-variance", max_iter=300).fit(centred_nd)
        return Directions(name, model.mixing_.T, model.components_.T)
    raise InputError(f"directions: expected pca, ica or random, found {name!r}.")


def attribute_changes(change_cf: np.ndarray, scale_f: np.ndarray, effect_fg: np.ndarray, m: int) -> np.ndarray:
    """[c, g] what the m most changed features of each condition say about genes.

    Args:
        change_cf: [c, f] changes of activations.
        scale_f: [f] standard deviations, which changes are ranked by.
        effect_fg: [f, g] change of expression for one unit of activation.
        m: Features that may speak.
    """
    size_cf = np.abs(change_cf) / np.maximum(scale_f, 1e-12)
    rank_cf = np.argsort(np.argsort(-size_cf, axis=1, kind="stable"), axis=1, kind="stable")
    return np.where(rank_cf < m, change_cf, 0) @ effect_fg


def average_precision(score_cg: np.ndarray, true_cg: np.ndarray) -> np.ndarray:
    """[c] average precision of |score| against true genes; ties share their mean rank's worth (pessimistic); NaN without any."""
    out_c = np.full(len(score_cg), np.nan)
    for at, (score_g, true_g) in enumerate(zip(np.abs(score_cg), true_cg, strict=True)):
        if not true_g.any() or true_g.all():
            continue
        # Among equals the false ones come first, so that a constant score gets what chance gets, or less.
        order = np.lexsort((true_g, -score_g))
        hit = true_g[order]
        precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
        out_c[at] = precision[hit].mean()
    return out_c
