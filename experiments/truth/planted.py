"""Worlds of the simulator, asked for what was planted: a screen with noise, a model fitted to it, and the truth."""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from vc_data.simulate import Perturbation, Simulation, SimulatorConfig, simulate, solve_effects
from vc_model.contracts.features import FeatureBank
from vc_model.models import fit_models
from vc_model.plan.library import Library, make_library, set_features
from vc_model.predictor import Fitted
from vc_model.table.effects import Action, Conditions, Contexts, EffectTable

LINES = ("LineA", "LineB")
N_TRAIN_PAIRS = 150
NOISE = 0.1
"""Standard deviation of a measured effect around the truth (log fold change)."""


@dataclass(frozen=True, eq=False)
class Planted:
    """One world.

    Attributes:
        sim: The simulation.
        genes: [g] genes.
        singles: Name -> single perturbation.
        trained: Names of singles that were measured in both lines.
        unseen: Names of singles that were not measured.
        train_pairs: Pairs that were measured in both lines.
        test_pairs: Pairs of measured singles that were not measured.
        table: Measured effects.
        model: A model fitted to them.
        library: All singles with features from noisy gene sets.
        sets: Those gene sets.
    """

    sim: Simulation
    genes: tuple[str, ...]
    singles: dict[str, Perturbation]
    trained: list[str]
    unseen: list[str]
    train_pairs: list[tuple[str, str]]
    test_pairs: list[tuple[str, str]]
    table: EffectTable
    model: Fitted
    library: Library
    sets: dict[str, list[str]]

    def truth(self, line: str, targets: list[tuple[str, ...]]) -> np.ndarray:
        """[n, g] noise-free log fold changes of cells in which every target responds."""
        return _effects(self.sim, self.singles, line, targets).steady

    def viability(self, line: str, targets: list[tuple[str, ...]]) -> np.ndarray:
        """[n] log share of cells that survive."""
        return np.log(_effects(self.sim, self.singles, line, targets).viability)


def plant(seed: int) -> Planted:
    """Make a world, measure a part of it and fit a model."""
    config = SimulatorConfig(
        n_genes=480, n_pathways=10, n_singles=120, n_pairs=0, cells_per_condition=1, controls_per_line=20, n_batches=1
    )
    sim = simulate(config, seed)
    genes = tuple(str(name) for name in sim.world.gene_names)
    singles = {p.label: replace(p, escapes=(0.0,) * len(p.targets)) for p in sim.perturbations}
    rng = np.random.default_rng(seed)
    order = [str(name) for name in rng.permutation(sorted(singles))]
    trained, unseen = order[:90], order[90:]
    pairs = list(combinations(trained[:40], 2))
    pairs = [pairs[at] for at in rng.permutation(len(pairs))]
    train_pairs, test_pairs = pairs[:N_TRAIN_PAIRS], pairs[N_TRAIN_PAIRS:]
    names, vectors = set_features(list(sim.gene_sets.values()), 24)
    library = make_library(sorted(singles), {"sets": (names, vectors)})
    bank = FeatureBank("sets", tuple(library.names), library.features_ed, ~library.known_e)
    table = _measure(sim, singles, genes, [*((name,) for name in trained), *train_pairs], bank, rng)
    model = fit_models(table, ["anchored"], seed=seed)["anchored"]
    return Planted(sim, genes, singles, trained, unseen, train_pairs, test_pairs, table, model, library, sim.gene_sets)


def _effects(sim: Simulation, singles: dict[str, Perturbation], line: str, targets: list[tuple[str, ...]]):
    at = [one.name for one in sim.world.lines].index(line)
    return solve_effects(sim.world, sim.world.lines[at], [_join(singles, names) for names in targets])


def _join(singles: dict[str, Perturbation], names: tuple[str, ...]) -> Perturbation:
    parts = [singles[name] for name in sorted(names)]
    fields = {
        key: tuple(v for part in parts for v in getattr(part, key))
        for key in ("targets", "kinds", "strengths", "escapes")
    }
    return replace(parts[0], label="+".join(sorted(names)), **fields)


def _measure(sim, singles, genes, targets, bank, rng) -> EffectTable:
    level_cg = np.stack([np.log1p(np.exp(line.log_level)) for line in sim.world.lines]).astype(np.float32)
    shape = level_cg.shape
    contexts = Contexts(
        genes=genes,
        cell_lines=LINES,
        input_cg=level_cg,
        base_cg=level_cg,
        sigma2_cg=np.full(shape, 100 * NOISE**2, np.float32),
        detected_cg=np.full(shape, 0.5, np.float32),
        loadings_cgk=rng.uniform(-0.5, 0.5, (*shape, 4)).astype(np.float32),
        basis_gk=rng.standard_normal((len(genes), 4)).astype(np.float32),
    )
    conditions = Conditions(
        np.repeat(LINES, len(targets)), tuple(Action(t, 0) for _ in LINES for t in targets), contexts
    )
    true_pg = np.concatenate([_effects(sim, singles, line, targets).steady for line in LINES])
    noisy = [(true_pg + NOISE * rng.standard_normal(true_pg.shape)).astype(np.float32) for _ in range(2)]
    n_p = np.full(len(true_pg), 100, np.float32)
    return EffectTable(
        contexts, conditions, (noisy[0] + noisy[1]) / 2, noisy[0], noisy[1], n_p, 20 * n_p, 10 * n_p, 10 * n_p, bank
    )
