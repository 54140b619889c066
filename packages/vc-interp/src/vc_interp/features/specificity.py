"""Specificity of regulators: do the features that a perturbed regulator moves decode to its known targets?

For every perturbed regulator with at least `min_targets` known targets among the genes: the changes of all features that it
moves significantly, decoded to genes, are compared between its targets and matched non-targets (for each target the genes
nearest in how strongly all perturbations together move them, so that genes that always respond count for nothing), by a
one-sided Mann-Whitney test, with Benjamini-Hochberg over regulators. The null gives each regulator the targets of another one.

On Geneformer and scGPT 3 of 48 transcription factors (6.2 %) are specific in this sense (Kendiukhov 2026), while 29 to 59 % of
features annotate to some gene set.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

PUBLISHED = 3 / 48
MATCHED = 5


@dataclass(frozen=True, eq=False)
class Specificity:
    """Result for all regulators.

    Attributes:
        table: One row per regulator: `regulator`, `targets`, `auroc` (targets above matched non-targets), `p_value`, `fdr`,
            `specific`.
        share: Share that is specific at a false discovery rate of 5 %.
        low: Lower end of its 95 % interval (Wilson).
        high: Upper end.
        permuted: [r] the same share when regulators are given the targets of others.
    """

    table: pd.DataFrame
    share: float
    low: float
    high: float
    permuted: np.ndarray


def specificity(
    effect_cg: np.ndarray,
    regulators: np.ndarray,
    genes: tuple[str, ...],
    targets: Mapping[str, Set[str]],
    *,
    min_targets: int = 5,
    permutations: int = 50,
    seed: int = 0,
) -> Specificity:
    """Test every regulator.

    Args:
        effect_cg: [c, g] what the moved features of each condition decode to.
        regulators: [c] the perturbed gene of each condition; several rows of one are averaged.
        genes: g names.
        targets: Regulator -> its known targets.
        min_targets: Regulators with fewer targets among the genes are left out.
        permutations: Of targets over regulators.
        seed: Of the permutations.
    """
    place = {gene: at for at, gene in enumerate(genes)}
    names, rows, sets = [], [], []
    for name in dict.fromkeys(regulators.tolist()):
        known = np.array(sorted({place[g] for g in targets.get(name, ()) if g in place and g != name}), dtype=np.int64)
        if len(known) >= min_targets:
            names.append(name)
            rows.append(np.abs(effect_cg[regulators == name].mean(axis=0)))
            sets.append(known)
    if not names:
        empty = pd.DataFrame({"regulator": [], "targets": [], "auroc": [], "p_value": [], "fdr": [], "specific": []})
        return Specificity(empty, float("nan"), 0.0, 1.0, np.zeros(0))
    size_rg = np.stack(rows)
    usual_g = np.abs(effect_cg).mean(axis=0)
    own = [_test(size_rg[at], sets[at], usual_g, place.get(name)) for at, name in enumerate(names)]
    auroc, p_value = (np.array(column) for column in zip(*own, strict=True))
    fdr = stats.false_discovery_control(p_value)
    table = pd.DataFrame(
        {"regulator": names, "targets": [len(known) for known in sets], "auroc": auroc, "p_value": p_value, "fdr": fdr,
         "specific": fdr < 0.05}
    )  # fmt: skip
    permuted = []
    for turn in range(permutations if len(names) > 1 else 0):
        order = np.random.default_rng([seed, 8, turn]).permutation(len(names))
        found = [_test(size_rg[at], sets[order[at]], usual_g, place.get(names[at]))[1] for at in range(len(names))]
        permuted.append(float((stats.false_discovery_control(found) < 0.05).mean()))
    low, high = wilson(int((fdr < 0.05).sum()), len(names))
    return Specificity(
        table.sort_values(["p_value", "regulator"], ignore_index=True), float((fdr < 0.05).mean()), low, high,
        np.array(permuted),
    )  # fmt: skip


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    found = stats.binomtest(hits, n).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def matched(target_n: np.ndarray, usual_g: np.ndarray, own: int | None, each: int = MATCHED) -> np.ndarray:
    """Genes that are no targets, the nearest in `usual_g` to each target, without repeats."""
    free = np.ones(len(usual_g), dtype=bool)
    free[target_n] = False
    if own is not None:
        free[own] = False
    others = np.flatnonzero(free)
    order = others[np.argsort(usual_g[others], kind="stable")]
    at_n = np.searchsorted(usual_g[order], usual_g[target_n])
    chosen: set[int] = set()
    for at in at_n.tolist():
        start = min(max(at - each // 2 - 1, 0), max(len(order) - each, 0))
        chosen |= set(order[start : start + each].tolist())
    return np.array(sorted(chosen), dtype=np.int64)


def _test(size_g: np.ndarray, target_n: np.ndarray, usual_g: np.ndarray, own: int | None) -> tuple[float, float]:
    other_n = matched(target_n, usual_g, own)
    found = stats.mannwhitneyu(size_g[target_n], size_g[other_n], alternative="greater", method="asymptotic")
    p_value = float(found.pvalue)
    return float(found.statistic) / (len(target_n) * len(other_n)), p_value if np.isfinite(p_value) else 1.0
