"""Linear probes: what can be read from an embedding by one linear map (docs/metrics.md#profile-suite to D25, D28, D33).

Items of one group (perturbation, gene family, sequence) stay on one side. The penalty is chosen on the validation part,
the value reported on the test part, over several seeds. Probes on inputs alone (expression, library size) are the level to
beat: run the same function on them.
"""

from typing import NamedTuple

import numpy as np

from vc_eval.errors import VcEvalError
from vc_eval.metrics.ranks import auroc, average_precision, mean_defined, pearson
from vc_eval.metrics.registry import family

PENALTIES = (1e-4, 1e-2, 1.0, 100.0)
PARTS = (0.6, 0.2, 0.2)  # train, validation, test


_metric = family(prefix="probe/", direction="higher", best=1.0, unit="share", space="embeddings", aggregate="derived")

METRICS = (
    _metric("batch_kappa", "Batch, accuracy above chance", "Balanced accuracy of a batch probe, (a - 1/K)/(1 - 1/K).", "0",
            "D19", direction="lower", best=0.0),
    _metric("perturbation_kappa", "Perturbation, accuracy above chance", "The same for a perturbation probe on case cells, "
            "batches left out in turn.", "0", "D19"),
    _metric("perturbation_minus_batch", "Perturbation over batch", "Difference of the two.", "0", "D19"),
    _metric("batch_invariance_ratio_biojepa", "Batch invariance ratio", "Accuracy of the perturbation probe over that of the "
            "batch probe.", "batches over perturbations", "D19", best=float("inf"), unit="ratio"),
    _metric("perturbation_detection_auroc", "Perturbed or not", "AUROC of a probe of perturbed against control cells, "
            "perturbations and batches kept apart.", "0.5", "D20", unit="area under the curve"),
    _metric("essential_auroc", "Essential genes, AUROC", "AUROC of predicted gene effect for effects below -0.5, 5 folds.",
            "0.5; compare with expression alone", "D23", unit="area under the curve"),
    _metric("essential_auprc", "Essential genes, average precision", "Average precision of the same.", "prevalence", "D23",
            unit="area under the curve"),
    _metric("essential_gain", "Essential genes, gain", "AUROC minus that of a probe on mean expression and detection rate.",
            "0", "D23", unit="area under the curve"),
    _metric("reconstruction_pearson", "Reconstruction", "Pearson over held-out genes and cells of expression read from each "
            "gene's embedding.", "near 0.9 for gene means", "D24", unit="correlation"),
    _metric("reconstruction_pearson_biojepa", "Reconstruction by a small network", "The same pairs, read by a network of 64 "
            "hidden units trained for 200 steps on 80 % of genes.", "near 0.9 for gene means", "D24", unit="correlation"),
    _metric("reconstruction_pearson_genes", "Reconstruction within genes", "Mean over genes of the Pearson over cells.", "0",
            "D24", unit="correlation"),
    _metric("cell_type_accuracy", "Cell type, balanced accuracy", "Probe of cell type, batches kept apart.", "1/K", "D25"),
    _metric("cell_type_macro_f1", "Cell type, macro F1", "Mean over types of F1 of the same.", "about 1/K", "D25"),
    _metric("mode_accuracy", "Mode sensitivity", "Accuracy of a probe of the mode on actions of one sequence under several "
            "modes, sequences kept apart.", "1/modes", "D28"),
    _metric("family_accuracy", "Target family, accuracy", "Accuracy of a probe of gene families of 5 members or more.",
            "share of the largest family", "D33"),
    _metric("family_macro_f1", "Target family, macro F1", "Mean over families of F1 of the same.", "about 1/families",
            "D33"),
)  # fmt: skip


class ProbeResult(NamedTuple):
    """Mean over seeds of a classification probe on its test part, and the standard deviation of each."""

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    kappa: float
    """Balanced accuracy above chance, (a - 1/K) / (1 - 1/K) with K the classes of the test part."""
    auroc: float
    """One class against the rest, averaged over classes."""
    majority: float
    """Accuracy of always saying the commonest class."""
    sd: tuple[float, ...]
    """Standard deviations over seeds, in the order above."""


class Softmax(NamedTuple):
    """A fitted multinomial logistic regression on standardised features."""

    weight_kd: np.ndarray
    bias_k: np.ndarray
    centre_d: np.ndarray
    scale_d: np.ndarray

    def scores(self, x_nd: np.ndarray) -> np.ndarray:
        """`[n, k]` log-odds up to a constant."""
        return ((x_nd - self.centre_d) / self.scale_d) @ self.weight_kd.T + self.bias_k


def fit_softmax(x_nd: np.ndarray, class_n: np.ndarray, n_classes: int, penalty: float) -> Softmax:
    """Minimise the mean cross-entropy plus penalty / 2 times the squared weights; the bias is free.

    Args:
        x_nd: `[n, d]` features, standardised inside.
        class_n: `[n]` class 0..k-1.
        n_classes: Number of classes.
        penalty: Ridge penalty.
    """
    centre, scale = x_nd.mean(axis=0), x_nd.std(axis=0)
    scale = np.where(scale > 1e-12, scale, 1.0)
    x = (x_nd - centre) / scale
    n, d = x.shape
    target = np.eye(n_classes)[class_n]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = flat[: n_classes * d].reshape(n_classes, d), flat[n_classes * d :]
        log_odds = x @ weight.T + bias
        log_share = log_odds - logsumexp(log_odds, axis=1, keepdims=True)
        residual = (np.exp(log_share) - target) / n
        gradient = np.concatenate([(residual.T @ x + penalty * weight).ravel(), residual.sum(axis=0)])
        return -(log_share * target).sum() / n + penalty / 2 * np.square(weight).sum(), gradient

    from scipy.optimize import minimize  # heavy to import
    from scipy.special import logsumexp

    found = minimize(
        loss,
        np.zeros(n_classes * (d + 1)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 1000, "gtol": 1e-7, "ftol": 1e-13},
    ).x
    return Softmax(found[: n_classes * d].reshape(n_classes, d), found[n_classes * d :], centre, scale)


def fit_ridge(x_nd: np.ndarray, y_nm: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights `[d, m]` and intercept `[m]` of ridge regression on centred features, penalty per item."""
    centre, mean = x_nd.mean(axis=0), y_nm.mean(axis=0)
    x = x_nd - centre
    weight = np.linalg.solve(x.T @ x + penalty * len(x) * np.eye(x.shape[1]), x.T @ (y_nm - mean))
    return weight, mean - centre @ weight


def split_groups(group_n: np.ndarray, seed: int, parts: tuple[float, ...] = PARTS) -> list[np.ndarray]:
    """Rows of each part; whole groups are dealt out at random until a part holds its share of rows.

    Raises:
        VcEvalError: If there are fewer groups than parts.
    """
    names, code = np.unique(group_n, return_inverse=True)
    if names.size < len(parts):
        raise VcEvalError(f"probe: {names.size} groups for {len(parts)} parts; expected one group for each or more.")
    order = np.random.default_rng(seed).permutation(names.size)
    reached = np.cumsum(np.bincount(code)[order]) / code.size
    part = np.searchsorted(np.cumsum(parts)[:-1], reached - 0.5 * np.bincount(code)[order] / code.size)
    for k in range(len(parts)):  # no part stays empty
        if not (part == k).any():
            part[np.flatnonzero(part == np.bincount(part, minlength=len(parts)).argmax())[-1 if k else 0]] = k
    assigned = np.empty(names.size, int)
    assigned[order] = part
    return [np.flatnonzero(assigned[code] == k) for k in range(len(parts))]


def classify(
    x_nd: np.ndarray,
    label_n: np.ndarray,
    *,
    group_n: np.ndarray | None = None,
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
) -> ProbeResult:
    """Probe a label: fit on train, choose the penalty on validation, score on test, for every seed.

    Args:
        x_nd: `[n, d]` embeddings.
        label_n: `[n]` labels.
        group_n: `[n]` groups that stay together; None for single items.
        seeds: Seeds of the split.

    Raises:
        VcEvalError: If there are too few groups.
    """
    x_nd = np.asarray(x_nd, np.float64)
    names, code = np.unique(label_n, return_inverse=True)
    group_n = np.arange(code.size) if group_n is None else group_n
    rows = []
    for seed in seeds:
        train, validation, test = split_groups(group_n, seed)
        fits = [fit_softmax(x_nd[train], code[train], names.size, penalty) for penalty in PENALTIES]
        best = max(fits, key=lambda fit: _balanced(fit.scores(x_nd[validation]).argmax(axis=1), code[validation]))
        rows.append(_class_scores(best.scores(x_nd[test]), code[test], code[train]))
    table = np.array(rows)
    return ProbeResult(
        *(mean_defined(column) for column in table.T), sd=tuple(float(np.nanstd(column)) for column in table.T)
    )


def invariance_scores(batch: ProbeResult, perturbation: ProbeResult) -> dict[str, float]:
    """Batch and perturbation probes beside each other, and the ratio the BioJEPA suite reports."""
    return {
        "probe/batch_kappa": batch.kappa,
        "probe/perturbation_kappa": perturbation.kappa,
        "probe/perturbation_minus_batch": perturbation.kappa - batch.kappa,
        "probe/batch_invariance_ratio_biojepa": perturbation.accuracy / batch.accuracy
        if batch.accuracy
        else float("nan"),
    }


def essential_genes(
    embedding_gd: np.ndarray, effect_g: np.ndarray, *, covariate_gc: np.ndarray | None = None,
    group_g: np.ndarray | None = None, bound: float = -0.5, n_folds: int = 5, seed: int = 0,
) -> dict[str, float]:  # fmt: skip
    """Ridge probe of gene effect, out of fold, scored for effects below the bound.

    Args:
        embedding_gd: `[g, d]` gene embeddings.
        effect_g: `[g]` measured gene effect, negative is essential.
        covariate_gc: `[g, c]` mean expression and detection rate, for the gain.
        group_g: `[g]` groups that stay in one fold; None for single genes.
        bound: Effects below count as essential.
        n_folds: Folds.
        seed: Seed of the folds.
    """
    essential = np.asarray(effect_g) < bound
    group_g = np.arange(len(effect_g)) if group_g is None else group_g
    folds = split_groups(group_g, seed, (1 / n_folds,) * n_folds)
    predicted = _out_of_fold(np.asarray(embedding_gd, np.float64), np.asarray(effect_g, np.float64), folds)
    scores = {
        "probe/essential_auroc": auroc(-predicted, essential),
        "probe/essential_auprc": average_precision(-predicted, essential),
    }
    if covariate_gc is not None:
        plain = _out_of_fold(np.asarray(covariate_gc, np.float64), np.asarray(effect_g, np.float64), folds)
        scores["probe/essential_gain"] = scores["probe/essential_auroc"] - auroc(-plain, essential)
    return scores


def reconstruction(predicted_ng: np.ndarray, real_ng: np.ndarray) -> dict[str, float]:
    """Pearson over all held-out pairs, and the mean over genes of that over cells, for any probe's predictions."""
    return {
        "probe/reconstruction_pearson": pearson(np.ravel(predicted_ng), np.ravel(real_ng)),
        "probe/reconstruction_pearson_genes": mean_defined(
            [pearson(a, b) for a, b in zip(np.transpose(predicted_ng), np.transpose(real_ng), strict=True)]
        ),
    }


def reconstruct(
    embedding_ngd: np.ndarray, real_ng: np.ndarray, *, seed: int = 0, penalty: float = 1e-3
) -> dict[str, float]:
    """Ridge probe from each gene's embedding in a cell to its expression, fitted on 80 % of genes, scored on the rest."""
    train, test = split_groups(np.arange(real_ng.shape[1]), seed, (0.8, 0.2))
    d = embedding_ngd.shape[2]
    weight, intercept = fit_ridge(embedding_ngd[:, train].reshape(-1, d), real_ng[:, train].reshape(-1, 1), penalty)
    predicted = (embedding_ngd[:, test].reshape(-1, d) @ weight + intercept).reshape(len(real_ng), -1)
    return reconstruction(predicted, real_ng[:, test])


def reconstruct_biojepa(
    embedding_ngd: np.ndarray, real_ng: np.ndarray, *, seed: int = 0, n_hidden: int = 64, n_steps: int = 200,
    learning_rate: float = 1e-2, batch: int = 4096,
) -> dict[str, float]:  # fmt: skip
    """The suite's own probe: one hidden layer of 64 units from a gene's embedding to its expression, 80/20 over genes.

    Args:
        embedding_ngd: `[n, g, d]` embedding of each gene in each cell.
        real_ng: `[n, g]` expression.
        seed: Of the split, the weights and the batches.
        n_hidden: Units (ReLU).
        n_steps: Steps of Adam on the squared error.
        learning_rate: Of Adam.
        batch: Pairs of a step.

    References:
        docs/metrics.md#profile-suite; activation, rate and batch are ours, the suite leaves them open.
    """
    rng = np.random.default_rng(seed)
    train, test = split_groups(np.arange(real_ng.shape[1]), seed, (0.8, 0.2))
    d = embedding_ngd.shape[2]
    x, y = embedding_ngd[:, train].reshape(-1, d).astype(np.float64), real_ng[:, train].reshape(-1)
    centre, scale = x.mean(axis=0), np.where(x.std(axis=0) > 1e-12, x.std(axis=0), 1.0)
    weights = [
        rng.normal(0, np.sqrt(2 / d), (d, n_hidden)), np.zeros(n_hidden), rng.normal(0, np.sqrt(1 / n_hidden), n_hidden),
        np.array([y.mean()]),
    ]  # fmt: skip
    first, second = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for step in range(1, n_steps + 1):
        rows = rng.integers(0, len(y), min(batch, len(y)))
        a = (x[rows] - centre) / scale
        hidden = np.maximum(a @ weights[0] + weights[1], 0)
        error = 2 * (hidden @ weights[2] + weights[3] - y[rows]) / rows.size
        back = np.outer(error, weights[2]) * (hidden > 0)
        gradients = [a.T @ back, back.sum(axis=0), hidden.T @ error, np.array([error.sum()])]
        for w, g, m, v in zip(weights, gradients, first, second, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g**2 - v)
            w -= learning_rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    a = (embedding_ngd[:, test].reshape(-1, d) - centre) / scale
    predicted = np.maximum(a @ weights[0] + weights[1], 0) @ weights[2] + weights[3]
    return {"probe/reconstruction_pearson_biojepa": pearson(predicted, real_ng[:, test].reshape(-1))}


def _out_of_fold(x_nd: np.ndarray, y_n: np.ndarray, folds: list[np.ndarray]) -> np.ndarray:
    """Predictions for every row by a ridge whose penalty is chosen on a fifth of the other rows."""
    predicted = np.empty(len(y_n))
    scale = np.where(x_nd.std(axis=0) > 1e-12, x_nd.std(axis=0), 1.0)
    x = (x_nd - x_nd.mean(axis=0)) / scale
    for k, fold in enumerate(folds):
        rest = np.concatenate(folds[:k] + folds[k + 1 :])
        inner, outer = rest[: len(rest) * 4 // 5], rest[len(rest) * 4 // 5 :]

        def error(penalty: float, inner: np.ndarray = inner, outer: np.ndarray = outer) -> float:
            weight, intercept = fit_ridge(x[inner], y_n[inner, None], penalty)
            return float(np.square(x[outer] @ weight + intercept - y_n[outer, None]).mean())

        weight, intercept = fit_ridge(x[rest], y_n[rest, None], min(PENALTIES, key=error))
        predicted[fold] = (x[fold] @ weight + intercept)[:, 0]
    return predicted


def _balanced(called_n: np.ndarray, class_n: np.ndarray) -> float:
    return float(np.mean([(called_n[class_n == k] == k).mean() for k in np.unique(class_n)]))


def _class_scores(score_nk: np.ndarray, class_n: np.ndarray, train_n: np.ndarray) -> tuple[float, ...]:
    from scipy.special import logsumexp

    called = score_nk.argmax(axis=1)
    present = np.unique(class_n)
    balanced = _balanced(called, class_n)
    chance = 1 / present.size
    f1 = [
        2 * ((called == k) & (class_n == k)).sum() / ((called == k).sum() + (class_n == k).sum())
        for k in np.union1d(present, np.unique(called))
    ]
    share = np.exp(score_nk - logsumexp(score_nk, axis=1, keepdims=True))
    return (
        float((called == class_n).mean()),
        balanced,
        float(np.mean(f1)),
        (balanced - chance) / (1 - chance) if present.size > 1 else float("nan"),
        mean_defined([auroc(share[:, k], class_n == k) for k in present]),
        float((class_n == np.bincount(train_n).argmax()).mean()),
    )
