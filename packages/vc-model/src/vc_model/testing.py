"""Small synthetic tables with known truth, for tests and examples.

Truth: delta(line, action) = mean(line) + sum over targets of scale(line) * G v(target) + interaction of pairs, with
loadings G [g, k] and codes v that the features reveal well, weakly or not at all. Measurements add Gaussian noise of the
stated size.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from vc_model.contracts.features import FeatureBank
from vc_model.table.effects import Action, Conditions, Contexts, EffectTable

Quality = Literal["none", "useless", "weak", "good"]
CONTROLS_PER_CELL = 10  # reference (and input) controls of a line per cell of a condition
_NOISE = {"useless": np.inf, "weak": 3.0, "good": 0.1}  # sd of the noise on codes in the bank, relative to the codes


@dataclass(frozen=True, eq=False)
class World:
    """A table, conditions to predict, and the truth about both.

    Attributes:
        train: What a model may see.
        test: Conditions to predict.
        truth_qg: [q, g] noise-free effects of `test`.
        train_truth_pg: [p, g] noise-free effects of the training conditions.
    """

    train: EffectTable
    test: Conditions
    truth_qg: np.ndarray
    train_truth_pg: np.ndarray


def make_world(
    *,
    n_train: int = 120,
    n_test: int = 40,
    n_genes: int = 200,
    lines: tuple[str, ...] = ("A",),
    rank: int = 4,
    features: Quality = "good",
    effect: float = 0.3,
    mean_effect: float = 0.1,
    noise: float = 0.3,
    n_cells: int = 100,
    n_combos: int = 0,
    n_test_combos: int = 0,
    interaction: float = 0.0,
    curvature: float = 0.0,
    held_out_line: str | None = None,
    measured_targets: bool = True,
    seed: int = 0,
) -> World:
    """Draw a world.

    Args:
        n_train: Training targets, each perturbed in every line.
        n_test: Held-out targets.
        n_genes: Genes; the first ones are the targets when `measured_targets`.
        lines: Cell lines.
        rank: Rank of the deviations.
        features: How well the bank reveals the codes; `none` gives no bank.
        effect: Standard deviation of a gene's deviation.
        mean_effect: Standard deviation over genes of the line's mean effect.
        noise: Standard deviation of one cell's expression around its mean.
        n_cells: Cells behind each effect.
        n_combos: Training pairs of training targets, in every line.
        n_test_combos: Held-out pairs of training targets.
        interaction: Standard deviation of a pair's non-additive effect.
        curvature: Standard deviation of a part of single effects that is quadratic in the codes.
        held_out_line: A line whose training conditions are all held out.
        measured_targets: Whether targets are measured genes.
        seed: Draws everything.
    """
    rng = np.random.default_rng(seed)
    genes = tuple(f"G{number}" for number in range(n_genes))
    n_targets = n_train + n_test
    targets = [genes[number] if measured_targets and number < n_genes else f"X{number}" for number in range(n_targets)]
    code = {target: rng.standard_normal(rank) for target in targets}
    truth = _draw_truth(rng, code, rank, n_genes, lines, effect, mean_effect, curvature, interaction)
    contexts = _make_contexts(genes, lines, noise, rng)
    pairs = _draw_pairs(rng, targets[:n_train], n_combos + n_test_combos)
    seen = [(target,) for target in targets[:n_train]] + pairs[:n_combos]
    unseen = [(target,) for target in targets[n_train:]] + pairs[n_combos:]
    trained = [line for line in lines if line != held_out_line]
    train = [(line, Action(names, 0)) for line in trained for names in seen]
    test = [(line, Action(names, 0)) for line in trained for names in unseen]
    if held_out_line is not None:
        test += [(held_out_line, Action(names, 0)) for names in seen + unseen]
    train_truth_pg = np.array([truth.delta(*pair) for pair in train])
    table = _measure(rng, train_truth_pg, _conditions(train, contexts), contexts, noise, n_cells)
    table = replace(table, bank=_make_bank(code, features, rng))
    return World(table, _conditions(test, contexts), np.array([truth.delta(*pair) for pair in test]), train_truth_pg)


@dataclass(frozen=True, eq=False)
class _Truth:
    """Draws that fix every noise-free effect."""

    code: dict[str, np.ndarray]
    lines: tuple[str, ...]
    loading_gk: np.ndarray
    curve_kg: np.ndarray
    pair_kg: np.ndarray
    mean_cg: np.ndarray
    scale_c: np.ndarray

    def delta(self, line: str, action: Action) -> np.ndarray:
        """[g] effect of an action in a line."""
        at, targets = self.lines.index(line), action.targets
        parts = [
            self.mean_cg[at] + self.scale_c[at] * (self.loading_gk @ v + v * np.roll(v, 1) @ self.curve_kg)
            for v in (self.code[target] for target in targets)
        ]
        pairs = [self.code[a] * self.code[b] @ self.pair_kg for i, a in enumerate(targets) for b in targets[i + 1 :]]
        return np.sum(parts + pairs, axis=0)


def _draw_truth(
    rng: np.random.Generator,
    code: dict[str, np.ndarray],
    rank: int,
    n_genes: int,
    lines: tuple[str, ...],
    effect: float,
    mean_effect: float,
    curvature: float,
    interaction: float,
) -> _Truth:
    loading_gk = effect * rng.standard_normal((n_genes, rank)) / np.sqrt(rank)
    curve_kg = curvature * rng.standard_normal((rank, n_genes)) / np.sqrt(rank)
    pair_kg = interaction * rng.standard_normal((rank, n_genes)) / np.sqrt(rank)
    mean_cg = mean_effect * (rng.standard_normal(n_genes) + 0.3 * rng.standard_normal((len(lines), n_genes)))
    return _Truth(code, lines, loading_gk, curve_kg, pair_kg, mean_cg, np.linspace(1, 0.7, len(lines)))


def _draw_pairs(rng: np.random.Generator, targets: list[str], count: int) -> list[tuple[str, ...]]:
    drawn: dict[tuple[str, ...], None] = {}
    while len(drawn) < count:
        drawn[tuple(sorted(rng.choice(targets, 2, replace=False).tolist()))] = None
    return list(drawn)


def _measure(
    rng: np.random.Generator,
    truth_pg: np.ndarray,
    conditions: Conditions,
    contexts: Contexts,
    noise: float,
    n_cells: int,
) -> EffectTable:
    """Noisy effects of the conditions, without a bank."""
    n_p = np.full(len(conditions), n_cells, dtype=np.float32)
    measured_pg = truth_pg + noise / np.sqrt(n_cells) * rng.standard_normal(truth_pg.shape)
    # The controls of a line are one draw that all its effects share; reference and input controls are disjoint.
    sd_control = noise / np.sqrt(CONTROLS_PER_CELL * n_cells)
    reference_cg, input_cg = sd_control * rng.standard_normal((2, *contexts.base_cg.shape))
    line_p = contexts.positions(conditions.cell_line)
    return EffectTable(
        contexts=contexts,
        conditions=conditions,
        delta_pg=(measured_pg - (reference_cg + input_cg)[line_p] / 2).astype(np.float32),
        half_pg=(measured_pg - reference_cg[line_p]).astype(np.float32),
        check_pg=(measured_pg - input_cg[line_p]).astype(np.float32),
        n_cells_p=n_p,
        n_controls_p=2 * CONTROLS_PER_CELL * n_p,
        n_half_p=CONTROLS_PER_CELL * n_p,
        n_check_p=CONTROLS_PER_CELL * n_p,
        bank=None,
    )


def _conditions(pairs: list[tuple[str, Action]], contexts: Contexts) -> Conditions:
    return Conditions(np.array([line for line, _ in pairs]), tuple(action for _, action in pairs), contexts)


def _make_contexts(genes: tuple[str, ...], lines: tuple[str, ...], noise: float, rng: np.random.Generator) -> Contexts:
    shape = (len(lines), len(genes))
    common_g = rng.gamma(2, 0.5, len(genes))
    input_cg = np.abs(common_g + 0.2 * rng.standard_normal(shape)).astype(np.float32)
    return Contexts(
        genes=genes,
        cell_lines=lines,
        input_cg=input_cg,
        base_cg=input_cg + np.float32(0.01),
        sigma2_cg=np.full(shape, noise**2, dtype=np.float32),
        detected_cg=rng.uniform(0.2, 1, shape).astype(np.float32),
        loadings_cgk=rng.uniform(-0.5, 0.5, (*shape, 4)).astype(np.float32),
        basis_gk=rng.standard_normal((len(genes), 4)).astype(np.float32),
    )


def _make_bank(code: dict[str, np.ndarray], quality: Quality, rng: np.random.Generator) -> FeatureBank | None:
    if quality == "none":
        return None
    codes = np.array(list(code.values()))
    junk = rng.standard_normal(codes.shape)
    vectors = junk if quality == "useless" else codes + _NOISE[quality] * junk
    distractors = rng.standard_normal((len(codes), 8))
    vectors = np.concatenate([vectors, 0.3 * distractors], axis=1).astype(np.float32)
    return FeatureBank(f"synthetic-{quality}", tuple(code), vectors, np.zeros(len(codes), dtype=bool))
