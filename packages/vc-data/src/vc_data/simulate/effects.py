"""What a perturbation does to a simulated cell line: noise-free effects, viability, and the expected pseudobulk.

Decides how each mode acts on the network and what an infinitely large experiment would report.
"""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from vc_data.simulate.config import SimulatorConfig
from vc_data.simulate.network import CellLine, World, steady_state

if TYPE_CHECKING:
    import scipy.sparse

KNOCKOUT_MRNA = 0.6
"""Fraction of mRNA left by a knockout (nonsense-mediated decay)."""
KNOCKOUT_ACTIVITY = 0.03
"""Fraction of activity left per molecule by a knockout."""
MAX_OCCUPANCY = 0.98
"""Occupancy of a drug's target at an unlimited dose."""
MIN_VIABILITY = 0.03
"""Least expected share of surviving cells."""
MAX_STRESS = 3.0
"""Largest stress, in units of -log(viability)."""
CP10K = 10_000.0
"""Counts per cell after scaling, the CP10k convention."""


@dataclass(frozen=True)
class Perturbation:
    """One condition's perturbation, the same in every cell line."""

    label: str
    """`A`, `A+B`, `DRUG`, or `DRUG@DOSE` where there are several doses."""
    kind: str
    """`CRISPRi`, `CRISPRa`, `CRISPRko` or `drug`; `+` joins two different genetic kinds."""
    targets: tuple[int, ...]
    """Gene indices."""
    kinds: tuple[str, ...]
    """Kind of each target."""
    strengths: tuple[float, ...]
    """CRISPRi: share of mRNA removed; CRISPRa: fold induction of a median gene; knockout: 1; drug: occupancy."""
    escapes: tuple[float, ...]
    """Share of cells in which each target's perturbation does nothing, independent between targets; 0 for drugs."""
    dose: float
    """uM; NaN for genetic perturbations."""
    abundance: float
    """Relative number of cells that start with it."""


@dataclass(frozen=True)
class TrueEffects:
    """Noise-free outcome of p perturbations in one cell line.

    Cells of a condition are in one of several states: all targets respond, some do, none does. States are shared between
    conditions, so a pair's cells in which only one guide works are like those of the single.
    """

    state_change: np.ndarray
    """[s, g] log fold change of mRNA in each state: network, stress and shift."""
    full_state: np.ndarray
    """[p] the state in which every target responds."""
    mixture: "scipy.sparse.csr_array"
    """[p, s] share of each state among the surviving cells of a condition; rows sum to 1."""
    viability: np.ndarray
    """[p] expected share of fully responding cells that survive."""
    survival: np.ndarray
    """[p] expected share of all cells of the condition that survive."""

    @property
    def steady(self) -> np.ndarray:
        """[p, g] log fold change of mRNA in a fully responding cell."""
        return self.state_change[self.full_state]


def make_perturbations(world: World, rng: np.random.Generator) -> list[Perturbation]:
    """Choose the singles, the pairs and the drugs of the screen.

    Singles come in groups of one pathway, as focused libraries do, plus genes that regulate nothing. Half of the pairs
    are drawn from those with a gate or a synthetic-lethal link, the rest at random.

    Args:
        world: Network and configuration.
        rng: Source of everything random here.

    Returns:
        Singles, then pairs, then drugs by dose.
    """
    config = world.config
    genes = _single_targets(world, rng)
    kind_of: dict[int, str] = {int(g): config.modes[i % len(config.modes)] for i, g in enumerate(genes)}
    strength_of = {g: _strength(kind, rng) for g, kind in kind_of.items()}
    escape_of = {g: _escape(config, rng) for g in kind_of}

    def genetic(targets: tuple[int, ...]) -> Perturbation:
        targets = tuple(sorted(targets, key=lambda g: world.gene_names[g]))
        kinds = tuple(kind_of[g] for g in targets)
        return Perturbation(
            label="+".join(world.gene_names[list(targets)]),
            kind="+".join(sorted(set(kinds))),
            targets=targets,
            kinds=kinds,
            strengths=tuple(strength_of[g] for g in targets),
            escapes=tuple(escape_of[g] for g in targets),
            dose=float("nan"),
            abundance=_abundance(config, rng),
        )

    singles = [genetic((int(g),)) for g in genes]
    pairs = [genetic(pair) for pair in _pair_targets(world, genes, kind_of, rng)]
    return singles + pairs + _drugs(world, genes, rng)


def solve_effects(world: World, line: CellLine, perturbations: list[Perturbation]) -> TrueEffects:
    """Steady states, stress and viability of perturbations in one cell line.

    Args:
        world: Network and configuration.
        line: Cell line.
        perturbations: Any perturbations, of the screen or not.

    Returns:
        The noise-free effects.
    """
    import scipy.sparse as sp

    states, rows, columns, odds = _states(perturbations)
    direct, activity = direct_changes(world, line, states)
    change = steady_state(world, line, direct, activity)
    # Most genes are expressed in excess: only what is lost beyond two thirds costs fitness.
    lost = np.maximum(1.0 - 3.0 * np.exp(np.minimum(change + activity, 0.0)), 0.0)
    cost = lost @ line.essentiality
    cost += (lost[:, world.lethal_a] * lost[:, world.lethal_b]) @ world.lethal_cost
    viability = np.maximum(np.exp(-cost), MIN_VIABILITY)
    stress = world.config.stress_scale * np.minimum(-np.log(viability), MAX_STRESS)
    alive = sp.csr_array((odds * viability[columns], (rows, columns)), shape=(len(perturbations), len(states)))
    survival = np.asarray(alive.sum(axis=1)).ravel()
    first = np.unique(rows, return_index=True)[1]
    return TrueEffects(
        state_change=change + stress[:, None] * line.stress + world.shift,
        full_state=columns[first],
        mixture=sp.csr_array(sp.diags_array(1.0 / survival) @ alive),
        viability=viability[columns[first]],
        survival=survival,
    )


def _states(perturbations: list[Perturbation]) -> tuple[list[Perturbation], np.ndarray, np.ndarray, np.ndarray]:
    """Distinct states of cells, and which conditions have them with which probability (before selection).

    Returns:
        States as perturbations without escape; condition, state and probability of each occurrence, the full response of
        a condition first.
    """
    states: dict[tuple, int] = {}
    kept: list[Perturbation] = []
    rows, columns, odds = [], [], []
    for i, p in enumerate(perturbations):
        for responds in itertools.product((True, False), repeat=len(p.targets)):
            chance = float(np.prod([1 - e if r else e for r, e in zip(responds, p.escapes, strict=True)]))
            if chance == 0.0 and not all(responds):
                continue
            targets = tuple(itertools.compress(p.targets, responds))
            kinds = tuple(itertools.compress(p.kinds, responds))
            strengths = tuple(itertools.compress(p.strengths, responds))
            key = (targets, kinds, strengths)
            if key not in states:
                states[key] = len(kept)
                none = (0.0,) * len(targets)
                kept.append(replace(p, targets=targets, kinds=kinds, strengths=strengths, escapes=none))
            rows.append(i)
            columns.append(states[key])
            odds.append(chance)
    return kept, np.array(rows), np.array(columns), np.array(odds)


def direct_changes(world: World, line: CellLine, perturbations: list[Perturbation]) -> tuple[np.ndarray, np.ndarray]:
    """How each mode acts before the network answers.

    CRISPRi multiplies the target's mRNA by 1 - efficiency; CRISPRa induces more where basal expression is low; a knockout
    removes activity and part of the mRNA; an inhibitor removes activity only.

    Args:
        world: Network and configuration.
        line: Cell line; the basal level matters to CRISPRa.
        perturbations: p perturbations.

    Returns:
        `direct_pg` [p, g], log change of mRNA, and `activity_pg` [p, g], log change of activity per molecule.
    """
    direct = np.zeros((len(perturbations), world.config.n_genes))
    activity = np.zeros_like(direct)
    for i, perturbation in enumerate(perturbations):
        for gene, kind, strength in zip(perturbation.targets, perturbation.kinds, perturbation.strengths, strict=True):
            if kind == "CRISPRi":
                direct[i, gene] += np.log1p(-strength)
            elif kind == "CRISPRa":
                direct[i, gene] += np.log1p(strength / (np.exp(line.log_level[gene]) + 0.2))
            elif kind == "CRISPRko":
                direct[i, gene] += np.log(KNOCKOUT_MRNA)
                activity[i, gene] += np.log(KNOCKOUT_ACTIVITY)
            else:
                activity[i, gene] += np.log1p(-strength)
    return direct, activity


def log_share(line: CellLine, change_pg: np.ndarray) -> np.ndarray:
    """Log of each gene's share of the transcriptome: the compositional closure every count experiment sees.

    Args:
        line: Cell line.
        change_pg: [p, g] log fold changes of mRNA.

    Returns:
        [p, g] log shares; `exp` sums to 1 over genes.
    """
    from scipy.special import logsumexp

    level = line.log_level + change_pg
    return level - logsumexp(level, axis=-1, keepdims=True)


def make_expectation(world: World, line: CellLine):
    """Expected log1p(CP10k) of a gene as a function of its log share, given the noise of the cells.

    Integrates over depth (log-normal, Gauss-Hermite), cell state and batch (log-normal), the gamma part of the
    negative binomial (equal-probability quantiles) and Poisson counting (summed), once per gene on a grid of log shares.

    Args:
        world: Configuration and dispersions.
        line: Cell line; its state loadings widen the distribution.

    Returns:
        A function [p, g] log share -> [p, g] expected log1p(CP10k).
    """
    from scipy.special import gammaincinv

    config = world.config
    step, reach_low, reach_high = 0.125, 9.0, 5.0
    node, node_weight = np.polynomial.hermite_e.hermegauss(5)
    node_weight = node_weight / node_weight.sum()
    state_sd = np.sqrt(np.sum(line.state_loading.astype(float) ** 2, axis=0) + config.batch_log_sd**2)
    shape = 1.0 / world.dispersion
    quantile = (np.arange(20) + 0.5) / 20
    gamma = gammaincinv(shape[:, None], quantile) / shape[:, None]
    gamma = np.log(np.maximum(gamma / gamma.mean(axis=1, keepdims=True), 1e-12))
    spread = (gamma[:, :, None] + state_sd[:, None, None] * node - 0.5 * state_sd[:, None, None] ** 2).reshape(
        config.n_genes, -1
    )
    spread_weight = np.tile(node_weight / len(quantile), len(quantile))
    offset = np.arange(-reach_low, reach_high + step, step)
    rate_grid, value_grid = _counting_curve(config)
    basal = log_share(line, np.zeros((1, config.n_genes)))[0]
    table = np.empty((config.n_genes, len(offset)))

    def column(shifted: float) -> np.ndarray:
        log_rate = np.minimum(basal + shifted, -0.05)[:, None] + spread
        # The gene's own noise is part of the total it is divided by.
        share = np.exp(np.minimum(basal + shifted, -0.05))[:, None]
        log_rate -= np.log1p(share * np.expm1(np.minimum(spread, 20.0)))
        return np.interp(log_rate, rate_grid, value_grid) @ spread_weight

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for j, values in enumerate(pool.map(column, offset.tolist())):
            table[:, j] = values
    rows = np.arange(config.n_genes)

    def expectation(log_share_pg: np.ndarray) -> np.ndarray:
        # Cubic convolution (Keys 1981) on the uniform grid.
        position = np.clip((log_share_pg - basal + reach_low) / step, 1.0, len(offset) - 3.0)
        left = position.astype(int)
        t = position - left
        p0, p1, p2, p3 = (table[rows, left + shift] for shift in (-1, 0, 1, 2))
        return p1 + 0.5 * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))

    return expectation


def _counting_curve(config: SimulatorConfig) -> tuple[np.ndarray, np.ndarray]:
    """E[log1p(1e4 k / depth)] over Poisson counts and log-normal depth, on a fine grid of log share."""
    from scipy.special import gammaln

    grid = np.arange(-25.0, 2.0, 0.02)
    node, weight = np.polynomial.hermite_e.hermegauss(9)
    value = np.zeros(len(grid))
    count = np.arange(400)
    for depth, share in zip(
        config.depth_median * np.exp(config.depth_log_sd * node), weight / weight.sum(), strict=True
    ):
        mean = depth * np.exp(grid)
        small = mean < 150
        log_pmf = count * np.log(mean[small])[:, None] - mean[small][:, None] - gammaln(count + 1)
        value[small] += share * (np.exp(log_pmf) @ np.log1p(CP10K * count / depth))
        # Second-order expansion around a large mean.
        large = mean[~small]
        slope = CP10K / depth / (1 + CP10K * large / depth)
        value[~small] += share * (np.log1p(CP10K * large / depth) - 0.5 * large * slope**2)
    return grid, value


def _single_targets(world: World, rng: np.random.Generator) -> np.ndarray:
    """Expressed genes to perturb: regulators pathway by pathway, and genes that regulate nothing."""
    config = world.config
    level = np.mean([line.log_level for line in world.lines], axis=0)
    expressed = level > np.quantile(level, 0.5)
    n_active = min(round((1 - config.silent_target_share) * config.n_singles), len(world.regulators))
    usable = expressed[world.regulators]
    ranked: list[int] = []
    for k in rng.permutation(config.n_pathways):
        here = rng.permutation(world.regulators[(world.regulator_pathway == k) & usable])
        ranked += here[: int(rng.integers(6, 13))].tolist()
    active = ranked[:n_active]
    left = rng.permutation(np.setdiff1d(world.regulators, active))
    active += left[: n_active - len(active)].tolist()
    others = np.setdiff1d(np.arange(config.n_genes), world.regulators)
    # Expressed genes first; of those, genes that no pathway claims are more likely.
    order = rng.random(len(others)) + 2.0 * ~expressed[others] + 0.5 * np.isin(others, world.member_gene)
    others = others[np.argsort(order)]
    chosen = np.array(active + others[: config.n_singles - len(active)].tolist())
    return rng.permutation(chosen)


def _pair_targets(
    world: World, genes: np.ndarray, kind_of: dict[int, str], rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Distinct pairs of screened genes of one mode; up to half of them linked by a gate or by synthetic lethality."""
    first, second = (np.sort(genes)[index] for index in np.triu_indices(len(genes), 1))
    same = np.array([kind_of[a] == kind_of[b] for a, b in zip(first.tolist(), second.tolist(), strict=True)], bool)
    key = rng.permutation((first * world.config.n_genes + second)[same])
    a = np.append(world.gates.source_a, world.lethal_a)
    b = np.append(world.gates.source_b, world.lethal_b)
    linked = np.isin(key, np.minimum(a, b) * world.config.n_genes + np.maximum(a, b))
    n_pairs = world.config.n_pairs
    n_linked = min(linked.sum(), (n_pairs + 1) // 2)
    chosen = np.append(key[linked][:n_linked], np.append(key[~linked], key[linked][n_linked:])[: n_pairs - n_linked])
    return [(int(k) // world.config.n_genes, int(k) % world.config.n_genes) for k in np.sort(chosen)]


def _drugs(world: World, genes: np.ndarray, rng: np.random.Generator) -> list[Perturbation]:
    """Every inhibitor at every dose; occupancy of a target follows a Hill curve of the dose."""
    config = world.config
    active = np.intersect1d(genes, world.regulators)
    result = []
    width = len(str(max(config.n_drugs, 1)))
    for i in range(config.n_drugs):
        n_targets = int(rng.integers(1, 4))
        main = rng.choice(active if len(active) else genes)
        others = rng.choice(np.setdiff1d(world.regulators, [main]), n_targets - 1, replace=False)
        targets = (int(main), *(int(g) for g in others))
        half = 10.0 ** rng.normal(-0.5, 0.6) * np.append(1.0, 10.0 ** rng.uniform(0.5, 2.0, n_targets - 1))
        hill = rng.uniform(0.8, 1.6)
        abundance = _abundance(config, rng)
        for dose in config.doses:
            occupancy = MAX_OCCUPANCY * dose**hill / (dose**hill + half**hill)
            result.append(
                Perturbation(
                    label=f"D{i + 1:0{width}d}" + (f"@{dose:g}" if len(config.doses) > 1 else ""),
                    kind="drug",
                    targets=targets,
                    kinds=("drug",) * n_targets,
                    strengths=tuple(float(x) for x in occupancy),
                    escapes=(0.0,) * n_targets,
                    dose=float(dose),
                    abundance=abundance,
                )
            )
    return result


def _strength(kind: str, rng: np.random.Generator) -> float:
    if kind == "CRISPRi":
        return float(np.clip(rng.normal(0.86, 0.09), 0.5, 0.97))
    return float(4.0 * rng.lognormal(0.0, 0.5)) if kind == "CRISPRa" else 1.0


def _escape(config: SimulatorConfig, rng: np.random.Generator) -> float:
    mean = config.escape_share
    return float(rng.beta(12 * mean, 12 * (1 - mean))) if mean > 0 else 0.0


def _abundance(config: SimulatorConfig, rng: np.random.Generator) -> float:
    sd = config.abundance_log_sd
    return float(rng.lognormal(-0.5 * sd**2, sd))
