"""The simulated cell: genes, a sparse signed network with gates, and one variant of all that per cell line.

Decides how regulation answers. `world.py` draws it, `effects.py` perturbs it, `cells.py` sequences it. Quantities are
natural-log deviations from the unperturbed steady state of the line unless said otherwise.
"""

from dataclasses import dataclass

import numpy as np

from vc_data.simulate.config import SimulatorConfig

SATURATION = 3.0
"""Largest regulated log fold change, a factor of 20 up or down."""
ACTIVE_LOG_LEVEL = -2.5
"""Log basal level, against the median expressed gene, at which a regulator has half of its influence."""


@dataclass(frozen=True)
class Gates:
    """Products of two regulators that act on a gene beyond their sum (AND gates, redundancy, masking)."""

    target: np.ndarray
    """[q] gene index."""
    source_a: np.ndarray
    """[q] gene index of the first regulator."""
    source_b: np.ndarray
    """[q] gene index of the second regulator."""
    weight: np.ndarray
    """[q] factor of `tanh(activity_a) * tanh(activity_b)`."""


@dataclass(frozen=True)
class CellLine:
    """One cell line's basal program and its variant of the network."""

    name: str
    log_level: np.ndarray
    """[g] log basal mRNA level; 0 is the median expressed gene."""
    edge_weight: np.ndarray
    """[e] weight of every edge of the network here; 0 where the edge is closed."""
    state_loading: np.ndarray
    """[f, g] log expression per unit of cell-state factor f, propagated through the network; weighted mean 0."""
    stress: np.ndarray
    """[g] log fold change per unit of stress."""
    essentiality: np.ndarray
    """[g] log-viability cost of losing the gene's activity entirely."""


@dataclass(frozen=True)
class World:
    """Everything that is fixed before anything is perturbed or sequenced."""

    config: SimulatorConfig
    gene_names: np.ndarray
    """[g] symbols such as `G0001`."""
    gene_ids: np.ndarray
    """[g] synthetic Ensembl-style ids."""
    member_pathway: np.ndarray
    """[m] pathway index of a membership."""
    member_gene: np.ndarray
    """[m] gene index of a membership."""
    regulators: np.ndarray
    """[r] sorted gene indices that have outgoing edges."""
    regulator_pathway: np.ndarray
    """[r] pathway each regulator acts for."""
    source: np.ndarray
    """[e] regulating gene of an edge."""
    target: np.ndarray
    """[e] regulated gene of an edge."""
    weight: np.ndarray
    """[e] weight of the edge before cell lines vary it."""
    gates: Gates
    lethal_a: np.ndarray
    """[l] first gene of a synthetic-lethal pair."""
    lethal_b: np.ndarray
    """[l] second gene of a synthetic-lethal pair."""
    lethal_cost: np.ndarray
    """[l] log-viability cost of losing both."""
    shift: np.ndarray
    """[g] log fold change of every perturbed cell against controls."""
    dispersion: np.ndarray
    """[g] negative-binomial dispersion."""
    lines: tuple[CellLine, ...]


def activity_response(line: CellLine, log_change_ng: np.ndarray, genes: np.ndarray) -> np.ndarray:
    """Change of a regulator's influence when its active amount changes by a log factor.

    `log((m e^x + k) / (m + k))` with basal level m: a gene that is not expressed has no influence to lose, and gains one
    when it is activated. Its slope lies in (0, 1).

    Args:
        line: Cell line.
        log_change_ng: [n, k] log change of the amount of the listed genes.
        genes: [k] gene indices.

    Returns:
        [n, k] log change of influence.
    """
    level = np.exp(line.log_level[genes])
    half = np.exp(ACTIVE_LOG_LEVEL)
    return np.log((level * np.exp(log_change_ng) + half) / (level + half))


def regulated_change(world: World, line: CellLine, change_ng: np.ndarray, activity_ng: np.ndarray) -> np.ndarray:
    """What the network makes of the current state: one application of the map whose fixed point is the steady state.

    `S tanh((W y + Q(y)) / S)` with `y` the influence of the regulators (`activity_response` of mRNA change plus
    activity change).

    Args:
        world: Genes and gates.
        line: Cell line.
        change_ng: [n, g] log fold change of mRNA.
        activity_ng: [n, g] log change of activity per molecule (inhibition).

    Returns:
        [n, g] log fold change that regulation asks for.
    """
    return _regulate(world, line, np.arange(world.config.n_genes))(
        activity_response(line, (change_ng + activity_ng)[:, world.regulators], world.regulators)
    )


def steady_state(world: World, line: CellLine, direct_ng: np.ndarray, activity_ng: np.ndarray, start: float = 0.0):
    """Steady state of the network under perturbation: the unique `a` with `a = S tanh((W y + Q(y)) / S) + direct`.

    The spectral radius of |W| plus the gates' slopes, restricted to regulators, is below 1, so iterating the map
    converges to the same point from anywhere (Ortega and Rheinboldt 1970, section 12.1, P-contractions).

    Args:
        world: Genes and gates.
        line: Cell line.
        direct_ng: [n, g] log change imposed on mRNA.
        activity_ng: [n, g] log change imposed on activity per molecule.
        start: Value all regulators start from.

    Returns:
        [n, g] float64 log fold change of mRNA, including the direct part.
    """
    regulators = world.regulators
    inner, outer = _regulate(world, line, regulators), _regulate(world, line, np.arange(world.config.n_genes))
    result = np.empty(direct_ng.shape)
    for first in range(0, len(direct_ng), 256):
        rows = slice(first, first + 256)
        direct, activity = direct_ng[rows][:, regulators], activity_ng[rows][:, regulators]
        state = np.full(direct.shape, float(start))
        for _ in range(1000):
            update = inner(activity_response(line, state + activity, regulators)) + direct
            moved = np.abs(update - state).max(initial=0.0)
            state = update
            if moved < 1e-12:
                break
        result[rows] = outer(activity_response(line, state + activity, regulators)) + direct_ng[rows]
    return result


def _regulate(world: World, line: CellLine, genes: np.ndarray):
    """Function [n, r] influence -> [n, k] regulated change of the listed genes."""
    import scipy.sparse as sp

    n_genes, n_regulators = world.config.n_genes, len(world.regulators)
    column = np.zeros(n_genes, int)
    column[world.regulators] = np.arange(n_regulators)
    edges = sp.csr_array((line.edge_weight, (world.target, column[world.source])), shape=(n_genes, n_regulators))[genes]
    gates = world.gates
    pairs, pair = np.unique(gates.source_a * n_genes + gates.source_b, return_inverse=True)
    products = sp.csr_array((gates.weight, (gates.target, pair)), shape=(n_genes, len(pairs)))[genes]
    a, b = column[pairs // n_genes], column[pairs % n_genes]

    def apply(influence_nr: np.ndarray) -> np.ndarray:
        bent = np.tanh(influence_nr)
        total = edges @ influence_nr.T + products @ (bent[:, a] * bent[:, b]).T
        return SATURATION * np.tanh(total.T / SATURATION)

    return apply
