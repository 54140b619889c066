"""How hard a simulated screen is: what simple predictors reach on held-out perturbations, scored on the noise-free truth.

    python experiments/simulator/hardness.py --preset small --difficulty easy medium hard

Singles are held out in 5 folds (the same genes in every cell line). Predictors see the measured deltas of the training
perturbations, control cells and the written gene sets; scores use the true delta of the held-out ones, without the
perturbed gene itself. `cos` is the median cosine to the truth, `r2` is 1 - squared error / squared effect over all held-out
perturbations of effect norm above the median (the rest have nothing to predict).

| name | prediction for a held-out gene |
|---|---|
| mean | mean training effect of the cell line |
| neighbour (sets) | effect of the training gene that shares most gene sets (Jaccard); the mean effect where none does |
| neighbour (truth) | the same with the true pathways, true training effects: the best that a look-up of membership can do |
| other line | the gene's own true effect in another line (legal only when transferring between lines) |
| ridge (sets) | ridge from membership in the gene sets to the effects |
| ridge (co-expression) | ridge from the gene's loadings on 30 principal components of the control cells |
| ridge (both) | both feature blocks |
| ceiling | the measured delta of the held-out condition itself |
"""

import argparse
import dataclasses

import numpy as np
from vc_data.simulate import PRESETS, Simulation, simulate

N_COMPONENTS = 30
PENALTIES = 10.0 ** np.arange(-1, 5)


def measured_deltas(sim: Simulation, line: str) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Singles, their measured [p, g] and true [p, g] deltas, and the control cells' [n, g] log1p(CP10k)."""
    obs = sim.adata.obs
    log = sim.adata.X.toarray()
    log = np.log1p(log * (1e4 / log.sum(axis=1, keepdims=True)))
    here = (obs["cell_line"] == line).to_numpy()
    control = log[here & obs["is_control"].to_numpy()]
    labels = obs["perturbation"].to_numpy(str)
    singles = [p.label for p in sim.perturbations if len(p.targets) == 1 and p.kind != "drug"]
    measured = np.array([log[here & (labels == s)].mean(axis=0) for s in singles]) - control.mean(axis=0)
    truth = sim.truth[[f"{line}|{s}" for s in singles]].X
    return singles, measured, np.asarray(truth), control


def set_features(sim: Simulation, genes: np.ndarray) -> np.ndarray:
    """[p, s] membership of the perturbed genes in the written gene sets, rare sets weighing more."""
    index = {name: i for i, name in enumerate(sim.adata.var_names)}
    member = np.zeros((len(sim.gene_sets), len(index)))
    for row, names in zip(member, sim.gene_sets.values(), strict=True):
        row[[index[name] for name in names]] = 1 / np.sqrt(len(names))
    return member[:, genes].T


def coexpression_features(control: np.ndarray, genes: np.ndarray) -> np.ndarray:
    """[p, k] loadings of the perturbed genes on the principal components of standardised control cells."""
    z = (control - control.mean(axis=0)) / np.maximum(control.std(axis=0), 0.05)
    seen = control.mean(axis=0) > np.median(control.mean(axis=0))
    _, vector = np.linalg.eigh(z[:, seen] @ z[:, seen].T)
    return z[:, genes].T @ vector[:, -N_COMPONENTS:]


def scaled(features: np.ndarray) -> np.ndarray:
    """Features around their mean, with a mean squared row norm of 1, so that blocks can be joined."""
    centred = features - features.mean(axis=0)
    return centred / max(np.sqrt((centred**2).sum() / len(centred)), 1e-12)


def ridge(x: np.ndarray, y: np.ndarray, x_new: np.ndarray) -> np.ndarray:
    """Ridge around the mean effect; the penalty has the least leave-one-out error on the training effects."""
    base, centre = y.mean(axis=0), x.mean(axis=0)
    u, s, vt = np.linalg.svd(x - centre, full_matrices=False)
    residual = y - base
    best, best_error = None, np.inf
    for penalty in PENALTIES / len(x):
        hat = (u * (s**2 / (s**2 + penalty))) @ u.T
        left = (residual - hat @ residual) / (1 - np.diag(hat) - 1 / len(x))[:, None]
        error = float((left**2).sum())
        if error < best_error:
            best, best_error = penalty, error
    weights = vt.T @ ((s / (s**2 + best))[:, None] * (u.T @ residual))
    return base + (x_new - centre) @ weights


def nearest(similarity: np.ndarray, effects: np.ndarray) -> np.ndarray:
    """Effect of the most similar training gene; the mean effect where nothing is shared. similarity: [new, train]."""
    found = effects[similarity.argmax(axis=1)]
    return np.where(similarity.max(axis=1, keepdims=True) > 0, found, effects.mean(axis=0))


def jaccard(member_ps: np.ndarray) -> np.ndarray:
    """[p, p] members that two programs share, over those of either."""
    both = (member_ps @ member_ps.T).astype(float)
    size = np.diag(both)
    return both / np.maximum(size[:, None] + size[None, :] - both, 1e-12)


def predictions(sim: Simulation, line: str, other: str | None, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Name -> [p, g] prediction of every single when it is held out, and the [p, g] truth, own gene blanked."""
    singles, measured, truth, control = measured_deltas(sim, line)
    genes = sim.adata.var_names.get_indexer(singles)
    own = (np.arange(len(singles)), genes)
    measured, truth = measured.copy(), truth.copy()
    measured[own], truth[own] = 0.0, 0.0
    sets = set_features(sim, genes)
    in_set = (sets > 0).astype(int)
    world = sim.world
    in_pathway = np.zeros((world.config.n_pathways, world.config.n_genes), int)
    in_pathway[world.member_pathway, world.member_gene] = 1
    by_set, by_pathway = jaccard(in_set), jaccard(in_pathway[:, genes].T)
    blocks = {"sets": scaled(sets), "co-expression": scaled(coexpression_features(control, genes))}
    blocks["both"] = np.hstack([blocks["sets"], blocks["co-expression"]])
    names = ["mean", "neighbour (sets)", "neighbour (truth)", *(f"ridge ({name})" for name in blocks)]
    result = {name: np.zeros_like(truth) for name in names}
    fold = np.random.default_rng(seed).permutation(len(singles)) % 5
    for k in range(5):
        new, train = fold == k, fold != k
        result["mean"][new] = measured[train].mean(axis=0)
        result["neighbour (sets)"][new] = nearest(by_set[np.ix_(new, train)], measured[train])
        result["neighbour (truth)"][new] = nearest(by_pathway[np.ix_(new, train)], truth[train])
        for name, features in blocks.items():
            result[f"ridge ({name})"][new] = ridge(features[train], measured[train], features[new])
    if other is not None:
        result["other line"] = np.asarray(sim.truth[[f"{other}|{s}" for s in singles]].X).copy()
        result["other line"][own] = 0.0
    result["ceiling"] = measured
    return result, truth


def score(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Correlation and relative error of a prediction, over all and over the strongest effects."""
    norm = np.linalg.norm(truth, axis=1)
    strong = norm > np.median(norm)
    p, t = prediction[strong], truth[strong]
    cosine = (p * t).sum(axis=1) / np.maximum(np.linalg.norm(p, axis=1) * norm[strong], 1e-12)
    return {"cos": float(np.median(cosine)), "r2": float(1 - ((p - t) ** 2).sum() / (t**2).sum())}


def pair_statistics(sim: Simulation) -> dict[str, float]:
    """How far the sum of the true single effects explains the true pair effects."""
    truth = sim.truth
    rows = truth.obs["perturbation"].str.contains("+", regex=False).to_numpy()
    if not rows.any():
        return {}
    effect, interaction = np.asarray(truth.X[rows]), np.asarray(truth.layers["interaction"][rows])
    additive = effect - interaction
    cosine = (additive * effect).sum(axis=1) / np.linalg.norm(additive, axis=1) / np.linalg.norm(effect, axis=1)
    share = (interaction**2).sum(axis=1) / (effect**2).sum(axis=1)
    return {
        "additive cos": float(np.median(cosine)),
        "additive r2": float(1 - (interaction**2).sum() / (effect**2).sum()),
        "interaction share q50": float(np.median(share)),
        "interaction share q90": float(np.quantile(share, 0.9)),
    }


def hardness(sim: Simulation, seed: int = 0) -> dict[str, dict[str, float]]:
    """What simple predictions score on one simulated screen."""
    lines = list(sim.world.config.cell_lines)
    pooled: dict[str, list[np.ndarray]] = {}
    truths = []
    for i, line in enumerate(lines):
        other = lines[i - 1] if len(lines) > 1 else None
        result, truth = predictions(sim, line, other, seed)
        truths.append(truth)
        for name, prediction in result.items():
            pooled.setdefault(name, []).append(prediction)
    return {name: score(np.vstack(parts), np.vstack(truths)) for name, parts in pooled.items()}


def main() -> None:
    """Print the table of every difficulty."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="small", choices=list(PRESETS))
    parser.add_argument("--difficulty", nargs="+", default=["medium"])
    parser.add_argument("--cells", type=int, help="cells per condition, instead of the preset's")
    parser.add_argument("--controls", type=int, help="control cells per line, instead of the preset's")
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    change = {"cells_per_condition": args.cells, "controls_per_line": args.controls}
    change = {key: value for key, value in change.items() if value}
    columns = {}
    for difficulty in args.difficulty:
        for seed in args.seed:
            sim = simulate(dataclasses.replace(PRESETS[args.preset], difficulty=difficulty, **change), seed)
            columns[f"{difficulty}/{seed}"] = (hardness(sim, seed), pair_statistics(sim))
    print("| predictor | " + " | ".join(f"{name} cos | {name} r2" for name in columns) + " |")
    print("|---|" + "---|---|" * len(columns))
    for name in next(iter(columns.values()))[0]:
        cells = (f"{c[0][name]['cos']:.2f} | {c[0][name]['r2']:.2f}" for c in columns.values())
        print(f"| {name} | " + " | ".join(cells) + " |")
    for name, (_, pairs) in columns.items():
        print(name, {key: round(value, 2) for key, value in pairs.items()})


if __name__ == "__main__":
    main()
