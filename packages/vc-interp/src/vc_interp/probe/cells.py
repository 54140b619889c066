"""Probes of cells: are perturbed ones told from controls, and what of batch, line and perturbation can be read?

Folds keep together what would leak: the perturbation in detection (a held-out perturbation is told from controls by others),
and the control cell that rows were made of in the others. Accuracies are balanced and corrected for chance,
kappa = (accuracy - 1 / K) / (1 - 1 / K) (metrics.md D19, D20, D25).
"""

from collections import Counter

import numpy as np

from vc_interp.errors import InputError
from vc_interp.probe.genes import FOLDS, Probe, auroc

MOST_ROWS = 4000


def detection_probe(x_nd: np.ndarray, labels: np.ndarray, *, permutations: int = 10, seed: int = 0) -> Probe:
    """AUROC of perturbed against control cells, over folds of perturbations; controls are dealt to folds at random.

    Raises:
        InputError: If there are no controls, or fewer perturbations than folds.
    """
    kinds = sorted(set(labels.tolist()) - {"control"})
    if len(kinds) < FOLDS or not (labels == "control").any():
        raise InputError(f"detection: expected controls and at least {FOLDS} perturbations, found {len(kinds)}.")
    rng = np.random.default_rng([seed, 11])
    fold_of = {name: at % FOLDS for at, name in enumerate(rng.permutation(kinds).tolist())}
    fold_n = np.array([fold_of.get(name, -1) for name in labels])
    control = fold_n < 0
    fold_n[control] = rng.integers(0, FOLDS, int(control.sum()))
    value = _detect(x_nd, ~control, fold_n)
    null = [_detect(x_nd, rng.permutation(~control), fold_n) for _ in range(permutations)]
    note = "linear, perturbations held out"
    return Probe("perturbation detection AUROC", value, float(np.mean(null)), float(np.std(null)), len(labels), note)


def label_probe(
    name: str, x_nd: np.ndarray, label_n: np.ndarray, group_n: np.ndarray, *, permutations: int = 3, seed: int = 0
) -> Probe | None:
    """Kappa of a linear probe of a label, groups held together; None where fewer than two labels are in two groups or more.

    Args:
        name: Of the label.
        x_nd: [n, d] latents.
        label_n: [n] label.
        group_n: [n] what may not be split between folds.
        permutations: Of the labels.
        seed: Draws rows and deals folds.
    """
    rng = np.random.default_rng([seed, 12])
    rows = np.sort(rng.permutation(len(label_n))[:MOST_ROWS])
    x_nd, label_n, group_n = x_nd[rows], label_n[rows], group_n[rows]
    pairs = Counter(label for label, _ in set(zip(label_n.tolist(), group_n.tolist(), strict=True)))
    keep = np.array([pairs[label] > 1 for label in label_n.tolist()], dtype=bool)  # no fold could learn the others
    x_nd, label_n, group_n = x_nd[keep], label_n[keep], group_n[keep]
    if len(set(label_n.tolist())) < 2 or len(set(group_n.tolist())) < FOLDS:
        return None
    value = _kappa(x_nd, label_n, group_n)
    null = [_kappa(x_nd, rng.permutation(label_n), group_n) for _ in range(permutations)]
    n_kinds = len(set(label_n.tolist()))
    note = f"linear, {n_kinds} values, chance accuracy {1 / n_kinds:.3f}"
    return Probe(f"{name} kappa", value, float(np.mean(null)), float(np.std(null)), len(label_n), note)


def _detect(x_nd: np.ndarray, case_n: np.ndarray, fold_n: np.ndarray) -> float:
    score_n = np.zeros(len(x_nd))
    for fold in range(FOLDS):
        test = fold_n == fold
        if test.any() and len(set(case_n[~test].tolist())) == 2:
            score_n[test] = _probe().fit(x_nd[~test], case_n[~test]).decision_function(x_nd[test])
    found = [auroc(score_n[fold_n == fold], case_n[fold_n == fold]) for fold in range(FOLDS)]
    return float(np.nanmean(found))


def _kappa(x_nd: np.ndarray, label_n: np.ndarray, group_n: np.ndarray) -> float:
    from sklearn.model_selection import GroupKFold, cross_val_predict

    said_n = cross_val_predict(_probe(), x_nd, label_n, groups=group_n, cv=GroupKFold(FOLDS))
    kinds = np.unique(label_n)
    accuracy = float(np.mean([(said_n[label_n == kind] == kind).mean() for kind in kinds]))
    return (accuracy - 1 / len(kinds)) / (1 - 1 / len(kinds))


def _probe():
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeClassifier(alpha=1.0, class_weight="balanced"))
