"""Every verb on five worlds of the simulator, beside the simplest method that answers the same question."""

from collections.abc import Iterator
from functools import cache, partial

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score
from truth.planted import Planted, plant
from vc_model.plan.bank import make_bank, model_bank
from vc_model.plan.biomarker import biomarker
from vc_model.plan.combo import combo
from vc_model.plan.escape import escape
from vc_model.plan.lethal import lethal
from vc_model.plan.mechanism import mechanism
from vc_model.plan.moa import moa
from vc_model.plan.network import network
from vc_model.plan.next import Goal
from vc_model.plan.proof import check_interactions
from vc_model.plan.query import Scores
from vc_model.plan.rounds import Plan, replay
from vc_model.plan.safety import safety
from vc_model.plan.steer import steer
from vc_model.plan.target import target
from vc_model.table.effects import Action

WORLDS = range(5)
world = cache(plant)


def _row(verb: str, seed: int, measure: str, ours: float, simple: float, chance: float, simplest: str) -> dict:
    return {"verb": verb, "world": seed, "measure": measure, "ours": float(ours), "simple": float(simple),
            "chance": float(chance), "simplest": simplest}  # fmt: skip


def _measured(w: Planted, line: str) -> tuple[list[str], np.ndarray]:
    """Singles measured in a line and their effects."""
    rows = [at for at, (one, action) in enumerate(zip(w.table.conditions.cell_line, w.table.conditions.actions, strict=True))
            if one == line and len(action.targets) == 1]  # fmt: skip
    return [w.table.conditions.actions[at].label for at in rows], w.table.delta_pg[rows]


def _reciprocal(order: list[str], right: str) -> float:
    return 1 / (order.index(right) + 1)


def _target(w: Planted, seed: int) -> dict:
    """The effect of a target that was never measured is wanted; library: all singles."""
    bank = model_bank(w.model, "LineA", sorted(w.singles))
    seen, effect = _measured(w, "LineA")
    near = {name: seen[int((w.library.features_ed[w.library.rows(seen, "")] @ w.library.features_ed[w.library.position[name]]).argmax())]
            for name in w.unseen}  # fmt: skip
    simple_kg = np.stack([effect[seen.index(near.get(name, name))] for name in sorted(w.singles)])
    simple_bank = make_bank(
        sorted(w.singles), w.genes, simple_kg + 1e-6 * np.random.default_rng(0).standard_normal(simple_kg.shape)
    )
    ours, simple = [], []
    # That a target's own gene changes tells it without any biology: no target's gene is in the question.
    other = np.array([gene not in w.singles for gene in w.genes])
    asked = [gene for gene, kept in zip(w.genes, other, strict=True) if kept]
    for name, goal in zip(w.unseen, w.truth("LineA", [(name,) for name in w.unseen])[:, other], strict=True):
        ours.append(_reciprocal(target(tuple(asked), goal, bank).table["name"].tolist(), name))
        simple.append(_reciprocal(target(tuple(asked), goal, simple_bank).table["name"].tolist(), name))
    k = len(w.singles)
    return _row("target", seed, "mean reciprocal rank, unseen", np.mean(ours), np.mean(simple), (1 / np.arange(1, k + 1)).mean(),
                "effect of the nearest measured gene")  # fmt: skip


def _moa(w: Planted, seed: int) -> dict:
    """A noisy profile from line B; the bank was measured in line A."""
    names, effect = _measured(w, "LineA")
    bank = make_bank(names, w.genes, effect)
    rng = np.random.default_rng(seed)
    ours, simple = [], []
    for name, profile in zip(names[:40], w.truth("LineB", [(name,) for name in names[:40]]), strict=True):
        asked = profile + 4 * rng.standard_normal(len(profile)) * 0.1
        ours.append(_reciprocal(moa(w.genes, asked, bank).table["name"].tolist(), name))
        order = np.argsort(-np.array([np.corrcoef(asked, row)[0, 1] for row in effect]))
        simple.append(_reciprocal([names[at] for at in order], name))
    return _row("moa", seed, "mean reciprocal rank, other line", np.mean(ours), np.mean(simple),
                (1 / np.arange(1, len(names) + 1)).mean(), "Pearson correlation")  # fmt: skip


def _combo(w: Planted, seed: int) -> dict:
    """Size of the interaction of pairs of measured singles that were never measured together."""
    pairs = w.test_pairs[:300]
    extra = (
        w.truth("LineA", pairs)
        - w.truth("LineA", [(a,) for a, _ in pairs])
        - w.truth("LineA", [(b,) for _, b in pairs])
    )
    names = sorted({name for pair in pairs for name in pair})
    proof = check_interactions(w.model, w.table, w.table.subset(np.zeros(0, int)))
    table = combo(w.model, "LineA", [Action((name,), 0) for name in names], proof=proof).table.set_index("name")
    ours = table.loc[["+".join(sorted(pair)) for pair in pairs], "interaction"]
    seen, effect = _measured(w, "LineA")
    size = dict(zip(seen, np.linalg.norm(effect, axis=1), strict=True))
    real = np.linalg.norm(extra, axis=1)
    simple = [size[a] * size[b] for a, b in pairs]
    return _row("combo", seed, "Spearman with the true size", spearmanr(ours, real).statistic, spearmanr(simple, real).statistic, 0,
                "product of the singles' sizes")  # fmt: skip


def _lethal(w: Planted, seed: int) -> dict:
    """Half of the pairs are measured; the others are ranked. Truth: cells lost beyond what both singles cost."""
    import pandas as pd

    names = w.trained[:60]
    pairs = [(a, b) for at, a in enumerate(names) for b in names[at + 1 :]]
    alone = dict(zip(names, w.viability("LineA", [(name,) for name in names]), strict=True))
    score = w.viability("LineA", pairs) - np.array([alone[a] + alone[b] for a, b in pairs])
    rng = np.random.default_rng(seed)
    noisy = score + 0.5 * score.std() * rng.standard_normal(len(pairs))
    below = float(np.quantile(score, 0.05))
    shown = rng.random(len(pairs)) < 0.5
    frame = pd.DataFrame(pairs, columns=["gene_a", "gene_b"]).assign(score=noisy)
    said = lethal(frame[shown], w.library, below=below, seed=seed).table.set_index("name")["effect"]
    left = list(np.flatnonzero(~shown))
    label = ["+".join(sorted(pairs[at])) for at in left]
    hit = score[left] <= below
    means = frame[shown].melt(id_vars="score", value_vars=["gene_a", "gene_b"]).groupby("value")["score"].mean()
    simple = [means.get(pairs[at][0], 0) + means.get(pairs[at][1], 0) for at in left]
    return _row("lethal", seed, "average precision, strongest 5 %", average_precision_score(hit, -said.reindex(label).fillna(0)),
                average_precision_score(hit, -np.array(simple)), hit.mean(), "two-way gene means")  # fmt: skip


def _safety(w: Planted, seed: int) -> dict:
    """Worst response of three gene sets in both lines to targets that were never measured."""
    panels = dict(list(w.sets.items())[:3])
    columns = [[w.genes.index(g) for g in genes if g in w.genes] for genes in panels.values()]
    worst = np.zeros(len(w.unseen))
    for line in ("LineA", "LineB"):
        delta = w.truth(line, [(name,) for name in w.unseen])
        for at in columns:
            z = np.abs(delta[:, at].mean(axis=1) - delta.mean(axis=1)) / (delta.std(axis=1) / np.sqrt(len(at)))
            worst = np.maximum(worst, z)
    table = safety(w.model, [Action((name,), 0) for name in w.unseen], panels).table.set_index("name")
    simple = np.zeros(len(w.unseen))
    member = {g for genes in panels.values() for g in genes}
    simple = np.array([name in member for name in w.unseen], float) + 1e-6 * np.arange(len(w.unseen))
    return _row("safety", seed, "Spearman with the true worst response", spearmanr(table.loc[w.unseen, "worst_panel"], worst).statistic,
                spearmanr(simple, worst).statistic, 0, "being a member of a panel")  # fmt: skip


def _escape(w: Planted, seed: int) -> dict:
    """How much of one perturbation's effect a second one undoes."""
    names = w.trained[:40]
    seen, effect = _measured(w, "LineA")
    by_name = dict(zip(seen, effect, strict=True))
    ours, simple = [], []
    for given in names[:4]:
        routes = [name for name in names if name != given]
        alone = np.linalg.norm(w.truth("LineA", [(given,)])[0])
        real = 1 - np.linalg.norm(w.truth("LineA", [(given, name) for name in routes]), axis=1) / alone
        table = escape(w.model, "LineA", Action((given,), 0), [Action((name,), 0) for name in names]).table.set_index(
            "name"
        )
        ours.append(spearmanr(table.loc[routes, "effect"], real).statistic)
        opposite = [-float(by_name[name] @ by_name[given] / np.linalg.norm(by_name[name])) for name in routes]
        simple.append(spearmanr(opposite, real).statistic)
    return _row(
        "escape", seed, "Spearman with the true recovery", np.mean(ours), np.mean(simple), 0, "opposite measured effect"
    )


def _steer(w: Planted, seed: int) -> dict:
    """Goals that two perturbations together reach: share of the way that the proposed steps really go."""
    names = w.trained[:40]
    library = [Action((name,), 0) for name in names]
    seen, effect = _measured(w, "LineA")
    by_name = dict(zip(seen, effect, strict=True))
    rng = np.random.default_rng(seed)
    ours, simple, chance = [], [], []
    other = np.array([gene not in w.singles for gene in w.genes])
    for at in rng.choice(len(w.test_pairs), 8, replace=False):
        goal = np.where(other, w.truth("LineA", [w.test_pairs[at]])[0], 0)
        said = steer(w.model, "LineA", goal, library, steps=2).table["name"].iloc[0].split(" > ")

        def reached(chosen: list[str], goal=goal) -> float:
            return 1 - float(
                np.linalg.norm((goal - w.truth("LineA", [tuple(sorted(set(chosen)))])[0])[other]) / np.linalg.norm(goal)
            )

        ours.append(reached(said))
        best = min(names, key=lambda name: float(np.linalg.norm((goal - by_name[name])[other])))
        simple.append(reached([best]))
        chance.append(reached(rng.choice(names, 2, replace=False).tolist()))
    return _row("steer", seed, "share of the way that is really gone", np.mean(ours), np.mean(simple), np.mean(chance),
                "nearest measured single")  # fmt: skip


def _biomarker(w: Planted, seed: int) -> dict:
    """Sixty lines of two lineages; five of 200 baseline genes modify the response, which also differs by lineage."""
    rng = np.random.default_rng(seed)
    lineage = rng.integers(0, 2, 60)
    baseline = rng.standard_normal((60, 200)) + np.where(rng.random(200) < 0.3, 1.5, 0) * lineage[:, None]
    modifier = np.zeros(200)
    modifier[rng.choice(200, 5, replace=False)] = 1
    response = baseline @ modifier + 2 * lineage + rng.standard_normal(60)
    names, lines = tuple(f"G{at}" for at in range(200)), tuple(f"L{at}" for at in range(60))
    table = biomarker(lines, response, names, baseline, adjust_nk=lineage[:, None].astype(float)).table
    said = np.zeros(200)
    said[[int(name[1:]) for name in table["name"]]] = -table["rank"]
    simple = [abs(np.corrcoef(column, response)[0, 1]) for column in baseline.T]
    hit = modifier > 0
    return _row("biomarker", seed, "average precision", average_precision_score(hit, said), average_precision_score(hit, simple),
                hit.mean(), "correlation")  # fmt: skip


def _next(w: Planted, seed: int) -> dict:
    """Singles with the largest effects; three rounds of 12 of 120, features from noisy gene sets."""
    names = sorted(w.singles)
    size = np.linalg.norm(w.truth("LineA", [(name,) for name in names]), axis=1)
    truth = Scores(tuple(names), size, size >= np.quantile(size, 0.85))
    ours, simple, chance = (
        np.mean([replay(w.library, truth, Plan(goal=Goal("high"), strategy=how, batch=12, seed=10 * seed + s), 4, shuffled=mixed)[-1]
                 for s in range(5)])
        for how, mixed in (("hits", False), ("kcenter", False), ("random", False))
    )  # fmt: skip
    return _row("next", seed, "share of hits after four rounds of 12", ours, simple, chance, "k-center")


def _network(w: Planted, seed: int) -> dict:
    """Edges of the planted network among perturbed genes."""
    names, effect = _measured(w, "LineA")
    bank = make_bank(names, w.genes, effect)
    table = network(bank).table
    edges = {(w.genes[a], w.genes[b]) for a, b in zip(w.sim.world.source, w.sim.world.target, strict=True)}
    hit = np.array([(a, b) in edges for a, b in zip(table["source"], table["target"], strict=True)])
    corr = np.abs(np.corrcoef(effect[:, [w.genes.index(name) for name in names]].T))
    at = {name: row for row, name in enumerate(names)}
    simple = [corr[at[a], at[b]] for a, b in zip(table["source"], table["target"], strict=True)]
    return _row("network", seed, "average precision of edges", average_precision_score(hit, -table["rank"]),
                average_precision_score(hit, simple), hit.mean(), "correlation over perturbations")  # fmt: skip


def _mechanism(w: Planted, seed: int) -> dict:
    """A hidden regulator drives half of the genes in two data sets; it is told from genes that drive nothing."""
    rng = np.random.default_rng(seed)
    genes = [f"G{at}" for at in range(200)]
    loading = rng.choice([-1, 1], 100) * rng.uniform(0.5, 1.5, 100)
    banks, raw = [], []
    for name in ("one", "two"):
        x = rng.standard_normal((60, 200))
        x[:, 100:] = 0.7 * x[:, 100:] + x[:, [5]] * loading + x[:, [6]] * 0.2
        banks.append(make_bank([f"P{at}" for at in range(60)], genes, x, name))
        raw.append(np.abs(x - x.mean(axis=0)).mean(axis=0))
    asked = [5, *range(20, 40)]
    said = [mechanism(f"G{at}", banks).table["effect"].min() for at in asked]
    size = np.mean(raw, axis=0)[asked]
    rank = lambda value: float(np.mean(np.asarray(value)[1:] < value[0]))  # noqa: E731 one line, used twice
    return _row(
        "mechanism",
        seed,
        "share of other genes ranked below",
        rank(said),
        rank(size),
        0.5,
        "size of the gene's changes",
    )


VERBS = {
    "target": _target, "safety": _safety, "combo": _combo, "moa": _moa, "lethal": _lethal, "escape": _escape, "steer": _steer,
    "biomarker": _biomarker, "next": _next, "network": _network, "mechanism": _mechanism,
}  # fmt: skip


def jobs() -> Iterator:
    """Jobs of the part."""
    for seed in WORLDS:
        for verb, ask in VERBS.items():
            yield f"{verb} {seed}", partial(lambda ask, seed: [ask(world(seed), seed)], ask, seed)
