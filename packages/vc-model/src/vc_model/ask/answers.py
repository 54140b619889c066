"""The table that people open: one row a condition, its verdict before its numbers, and its top genes.

Columns are plain lists, so that a table is made without pandas. A condition that training says too little about is
listed with its verdict and without numbers, unless extrapolations are asked for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from vc_model.ask.memory import Memory
from vc_model.ask.precedent import UNMEASURED, Precedent
from vc_model.ask.rules import AnswerPlan, AnswerRules, plan_answers
from vc_model.ask.verdict import HERE, VERDICTS, Verdicts
from vc_model.predictor import Fitted, Prediction
from vc_model.table.effects import MODES, Action, Conditions
from vc_model.table.threads import in_threads

ROWS_OF_A_THREAD = 128
NOTHING = "(a name that nothing is known of)"  # what the model says of it is what it says of any name
NEW_CONTEXT = "new context: these intervals promise nothing until some perturbations are measured there"
UNMOVED = 0.01  # distance from that answer, as a share of the answer, below which nothing moved it
Usual = dict[tuple[str, int, float, int], np.ndarray]
"""(Cell line, mode, dose, number of targets) -> [g] what the model says of names that nothing is known of."""


@dataclass
class Answers:
    """Answers to some conditions.

    Attributes:
        table: Column -> q values, one row a condition (docs/how-to/from-my-screen-to-a-figure.md names them).
        genes: Column -> values, one row a named gene: perturbation, cell_line, gene, direction, rank, effect, lower, upper,
            probability.
    """

    table: dict[str, list[Any]] = field(default_factory=dict)
    genes: dict[str, list[Any]] = field(default_factory=dict)

    def extend(self, other: "Answers") -> None:
        """Append the rows of another block."""
        for mine, more in ((self.table, other.table), (self.genes, other.genes)):
            for name, values in more.items():
                mine.setdefault(name, []).extend(values)

    def __len__(self) -> int:
        return len(self.table.get("perturbation", ()))


@dataclass(frozen=True, eq=False)
class AnswerBlock:
    """Some conditions with everything that is said of them.

    Attributes:
        conditions: The conditions of the block that have numbers.
        prediction: What the model says of those, or None where there are none.
        sd_qg: [q, g] float32 standard deviation of their effects.
        answers: The rows of all conditions of the block.
    """

    conditions: Conditions
    prediction: Prediction | None
    sd_qg: np.ndarray | None
    answers: Answers


def answer(fitted: Fitted, memory: Memory, conditions: Conditions, rules: AnswerRules) -> Iterator[AnswerBlock]:
    """Answer conditions block by block; memory does not grow with their number.

    Args:
        fitted: Any fitted model.
        memory: What it knows of its training data.
        conditions: The questions.
        rules: How answers are made.
    """
    plan, usual = plan_answers(memory, conditions, rules), {}
    for rows in plan.blocks():
        yield answer_block(fitted, plan, rows, usual)


def answer_block(fitted: Fitted, plan: AnswerPlan, rows: np.ndarray, usual: Usual) -> AnswerBlock:
    """Answer some conditions of a plan.

    Args:
        fitted: Any fitted model.
        plan: What is answered.
        rows: Positions of the conditions.
        usual: What the model says of names that nothing is known of, kept from block to block.
    """
    said = np.array([row for row in rows.tolist() if plan.refusals[row] is None], dtype=np.int64)
    asked, prediction, sd_qg = plan.conditions.subset(said), None, None
    numbers, genes = {}, {}
    if len(said):
        prediction = fitted.predict(asked)
        sd_qg = np.sqrt(prediction.var_pg)
        mean_qg = [_usual(fitted, asked, row, usual) for row in range(len(asked))]
        found = [plan.found[row] for row in said]
        numbers, genes = _numbers(asked, prediction, sd_qg, mean_qg, found, plan.verdicts, said, plan.rules)
    table = _rows(plan.conditions, rows, plan.verdicts, plan.found, plan.refusals, said, numbers)
    return AnswerBlock(asked, prediction, sd_qg, Answers(table, genes))


def _usual(fitted: Fitted, conditions: Conditions, row: int, made: Usual) -> np.ndarray:
    """[g] what the model says of names that nothing is known of, as many as the condition has targets."""
    line, action = str(conditions.cell_line[row]), conditions.actions[row]
    key = (line, action.mode, action.dose, len(action.targets))
    if key not in made:
        names = tuple(f"{NOTHING} {number}" for number in range(len(action.targets)))
        question = Conditions(np.array([line]), (Action(names, action.mode, action.dose),), conditions.contexts)
        made[key] = fitted.predict(question).delta_pg[0]
    return made[key]


def _numbers(
    asked: Conditions,
    prediction: Prediction,
    sd_qg: np.ndarray,
    mean_qg: list[np.ndarray],
    found: list[Precedent | None],
    verdicts: Verdicts,
    rows: np.ndarray,
    rules: AnswerRules,
) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Columns of the answered conditions, and their named genes."""
    width_q = prediction.conformal.width(prediction.table_p, rules.level)
    # Probabilities come from the normal distribution whose interval is as wide as the calibrated one.
    usual_width = ndtri((1 + rules.level) / 2)
    scale_q = np.where(np.isfinite(width_q), width_q / usual_width, 1).astype(np.float32)
    n = len(asked)
    size_q, var_q, far_q, sure_q, changed_q = (np.zeros(n) for _ in range(5))
    top = min(rules.top, prediction.delta_pg.shape[1])
    gene_qn = np.zeros((n, 2 * top), np.int64)

    def work(part: slice) -> None:
        delta_qg, own_qg = prediction.delta_pg[part], sd_qg[part]
        size_q[part] = np.sqrt(np.einsum("qg,qg->q", delta_qg, delta_qg) / delta_qg.shape[1])
        var_q[part] = np.einsum("qg,qg->q", own_qg, own_qg) / delta_qg.shape[1]
        off_qg = delta_qg - np.stack(mean_qg[part])
        far_q[part] = np.sqrt(np.einsum("qg,qg->q", off_qg, off_qg) / delta_qg.shape[1])
        sure_q[part] = (np.abs(delta_qg) > width_q[part, None] * own_qg).sum(axis=1)
        width_qg = np.maximum(own_qg * scale_q[part, None], np.float32(1e-9))
        ratio_qg, edge_qg = delta_qg / width_qg, np.float32(rules.change_in(prediction.contexts.space)) / width_qg
        changed_q[part] = (ndtr(ratio_qg - edge_qg) + ndtr(-ratio_qg - edge_qg)).sum(axis=1)
        gene_qn[part] = _extremes(delta_qg, top)

    list(in_threads(work, [slice(at, at + ROWS_OF_A_THREAD) for at in range(0, n, ROWS_OF_A_THREAD)]))
    low, mid, high = _sizes(size_q, var_q, found, verdicts.kind_q[rows])
    share_q = np.divide(far_q, size_q, out=np.zeros(n), where=size_q > 0)
    genes, up, down = _name_genes(asked, prediction, sd_qg, width_q, scale_q, gene_qn, top)
    table = {
        "effect_size": mid,
        "effect_size_lower": low,
        "effect_size_upper": high,
        "genes_expected_to_change": changed_q.tolist(),
        "genes_surely_changed": sure_q.astype(int).tolist(),
        "moved_from_mean": share_q.tolist(),
        "up": up,
        "down": down,
    }
    return table, genes


def _extremes(delta_qg: np.ndarray, top: int) -> np.ndarray:
    """[q, 2 top] columns of the largest and of the smallest effects, the most extreme first."""
    n = delta_qg.shape[1]
    if 2 * top >= n:
        order = np.argsort(delta_qg, axis=1, kind="stable")
        return np.concatenate([order[:, ::-1][:, :top], order[:, :top]], axis=1)
    picked = np.argpartition(delta_qg, (top, n - top - 1), axis=1)
    sides = []
    for columns, sign in ((picked[:, -top:], -1), (picked[:, :top], 1)):
        order = np.argsort(sign * np.take_along_axis(delta_qg, columns, axis=1), axis=1, kind="stable")
        sides.append(np.take_along_axis(columns, order, axis=1))
    return np.concatenate(sides, axis=1)


def _sizes(
    size_q: np.ndarray, var_q: np.ndarray, found: list[Precedent | None], kind_q: np.ndarray
) -> tuple[list[float], list[float], list[float]]:
    """Lower end, middle and upper end of the size of the noise-free effect (root mean square over genes)."""
    expected_q = np.where(kind_q == HERE, size_q, np.sqrt(size_q**2 + var_q))
    ends = [(0.0, 1.0, np.inf) if one is None else (one.size_low, one.size_mid, one.size_high) for one in found]
    low, mid, high = (expected_q * np.array(end) for end in zip(*ends, strict=True))
    return low.tolist(), mid.tolist(), high.tolist()


def _name_genes(
    asked: Conditions,
    prediction: Prediction,
    sd_qg: np.ndarray,
    width_q: np.ndarray,
    scale_q: np.ndarray,
    gene_qn: np.ndarray,
    top: int,
) -> tuple[dict[str, list[Any]], list[str], list[str]]:
    names = np.array(prediction.contexts.genes, dtype=object)
    effect_qn = np.take_along_axis(prediction.delta_pg, gene_qn, axis=1)
    sd_qn = np.take_along_axis(sd_qg, gene_qn, axis=1)
    half_qn = np.where(sd_qn > 0, sd_qn, 0) * np.where(np.isfinite(width_q), width_q, np.nan)[:, None]
    chance_qn = ndtr(np.abs(effect_qn) / np.maximum(sd_qn * scale_q[:, None], 1e-9))
    name_qn = names[gene_qn]
    n, width = gene_qn.shape
    direction = np.array(["up"] * top + ["down"] * (width - top), dtype=object)
    genes = {
        "perturbation": np.repeat(np.array(asked.perturbation, dtype=object), width).tolist(),
        "cell_line": np.repeat(np.array(asked.cell_line, dtype=object), width).tolist(),
        "direction": np.tile(direction, n).tolist(),
        "rank": np.tile(np.concatenate([np.arange(top), np.arange(width - top)]) + 1, n).tolist(),
        "gene": name_qn.ravel().tolist(),
        "effect": effect_qn.ravel().tolist(),
        "lower": (effect_qn - half_qn).ravel().tolist(),
        "upper": (effect_qn + half_qn).ravel().tolist(),
        "probability": chance_qn.ravel().tolist(),
    }
    texts = []
    for columns in (slice(0, top), slice(top, width)):
        sign = 1 if columns.start == 0 else -1
        blocks = (
            x[:, columns].tolist() for x in (name_qn, effect_qn, effect_qn - half_qn, effect_qn + half_qn, chance_qn)
        )
        texts.append(
            [
                "; ".join(_gene_text(*one) for one in zip(*row, strict=True) if sign * one[1] > 0)
                for row in zip(*blocks, strict=True)
            ]
        )
    return genes, texts[0], texts[1]


def _gene_text(name: str, effect: float, lower: float, upper: float, chance: float) -> str:
    ends = f" [{lower:+.2f}, {upper:+.2f}]" if lower == lower else ""
    return f"{name} {effect:+.2f}{ends} p={chance:.2f}"


def _rows(
    conditions: Conditions,
    rows: np.ndarray,
    verdicts: Verdicts,
    found: list[Precedent | None],
    refusals: list[str | None],
    said: np.ndarray,
    numbers: dict[str, list[Any]],
) -> dict[str, list[Any]]:
    """The table's rows of a block, in the order in which columns are read."""
    place = {int(row): at for at, row in enumerate(said)}
    names = (
        "effect_size",
        "effect_size_lower",
        "effect_size_upper",
        "genes_expected_to_change",
        "genes_surely_changed",
    )
    given = (
        {
            name: [numbers[name][place[row]] if row in place else None for row in rows.tolist()]
            for name in (*names, "moved_from_mean", "up", "down")
        }
        if numbers
        else {name: [None] * len(rows) for name in (*names, "moved_from_mean", "up", "down")}
    )
    actions = [conditions.actions[row] for row in rows]
    notes = [
        _note(
            refusals[row],
            given["moved_from_mean"][at],
            conditions.perturbation[row],
            int(verdicts.kind_q[row]),
            bool(verdicts.new_line_q[row]),
        )
        for at, row in enumerate(rows)
    ]
    return {
        "perturbation": [conditions.perturbation[row] for row in rows],
        "cell_line": [str(conditions.cell_line[row]) for row in rows],
        "mode": [MODES[action.mode] for action in actions],
        "dose": [action.dose or None for action in actions],
        "support": [VERDICTS[verdicts.kind_q[row]] for row in rows],
        "support_why": [verdicts.why[row] for row in rows],
        "new_context": [bool(verdicts.new_line_q[row]) for row in rows],
        **_accuracies([found[row] for row in rows]),
        "answered": [refusals[row] is None for row in rows],
        **{name: given[name] for name in names},
        "moved_from_mean": given["moved_from_mean"],
        "note": notes,
        "up": given["up"],
        "down": given["down"],
        "closest": ["; ".join(f"{name} {cosine:.2f}" for name, cosine, _ in verdicts.closest[row]) for row in rows],
    }


def _accuracies(found: list[Precedent | None]) -> dict[str, list[Any]]:
    """How good answers to such conditions were, and which classes that was measured on together."""
    measured = [one if one is not None and one.n else None for one in found]
    names = {
        "accuracy": "share",
        "accuracy_lower": "lower",
        "accuracy_upper": "upper",
        "accuracy_of_mean": "mean_share",
    }
    columns: dict[str, list[Any]] = {
        column: [None if one is None else getattr(one, name) for one in measured] for column, name in names.items()
    }
    columns["accuracy_n"] = [0 if one is None else one.n for one in measured]
    columns["accuracy_measured_on"] = [UNMEASURED if one is None else one.measured_on for one in found]
    return columns


def _note(refusal: str | None, moved: float | None, name: str, kind: int, new_line: bool) -> str:
    if refusal is not None:
        return f"no answer: {refusal}"
    notes = [NEW_CONTEXT] if new_line else []
    if moved is not None and moved < UNMOVED:
        known = "what was measured of" if kind == HERE else "nothing known about"
        hardly = "hardly " if kind == HERE else ""
        notes.insert(0, f"this is the mean of all perturbations; {known} {name} {hardly}moved it")
    return "; ".join(notes)
