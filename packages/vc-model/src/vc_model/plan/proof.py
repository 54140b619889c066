"""Was a model right about measured conditions that it was not fitted on? Without that no answer of it is a claim."""

from dataclasses import dataclass, replace

import numpy as np

from vc_model.plan.ask_model import goal_weights
from vc_model.plan.connect import cosines
from vc_model.plan.doubt import permutation_p
from vc_model.plan.results import Decision
from vc_model.predictor import Fitted
from vc_model.table.effects import Action, Conditions, EffectTable

LEVEL = 0.05
LEAST = 8
"""Unseen conditions from which the check says anything."""
N_PERMUTED = 999
UNCHECKED = (
    "Nobody checked this model on measured perturbations that it was not fitted on: the answer is its word alone. "
    "With --run the held-out ones of the run are the check."
)


@dataclass(frozen=True)
class Proof:
    """How a model did on conditions that were measured and not fitted.

    Attributes:
        what: What was checked, in words.
        n: Conditions.
        agreement: Mean cosine of what was predicted and what was measured, each less its mean over the conditions.
        p: Share of permutations of the conditions that agree at least as well; 1 for fewer than `LEAST` conditions.
        slope: Measured over predicted size, along the prediction; 0 where that is not known.
        sd: Root mean square of what was measured along the prediction beyond slope times it.
        per_product: Of interactions: size that pairs have beyond the model's, over the product of their singles' sizes.
    """

    what: str
    n: int
    agreement: float
    p: float
    slope: float = 0.0
    sd: float = float("inf")
    per_product: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether predictions belong to their own conditions more than to others."""
        return self.p <= LEVEL

    @property
    def text(self) -> str:
        """In words."""
        if self.n < LEAST:
            return f"{self.n} {self.what} were held out, {LEAST} are needed to check the model"
        return f"{self.what} that were held out agree with what was predicted at cosine {self.agreement:.2f} (n = {self.n}, p = {self.p:.2g})"


def gated(decision: Decision, proof: Proof | None, *, strict: bool = True) -> Decision:
    """The decision; nothing is called where the model was no better than chance about what it had not seen.

    Args:
        decision: What the model says.
        proof: How it did; None: nobody checked, which is a reason to doubt.
        strict: Whether too few held-out conditions to check it are a reason to call nothing; else they are one to doubt.
    """
    if proof is None:
        return replace(decision, doubts=(*decision.doubts, UNCHECKED))
    if proof.n < LEAST and not strict:
        return replace(decision, doubts=(*decision.doubts, f"Not checked: {proof.text}."))
    facts = {**decision.facts, f"check on {proof.what}": proof.text}
    if proof.holds or not decision.called:
        return replace(decision, facts=facts)
    answer = f"Nothing is called: {proof.text}. The order below is no evidence."
    return replace(decision, facts=facts, answer=answer, called=False)


def check_effects(fitted: Fitted, unseen: EffectTable, *, pairs: bool = False, seed: int = 0) -> Proof:
    """Compare predicted and measured effects of unseen conditions, each line by itself, a target's own gene left out.

    Args:
        fitted: Any fitted model.
        unseen: Measured effects of conditions that it was not fitted on, over its genes.
        pairs: Check combinations instead of single targets.
        seed: Of the permutations.
    """
    what = "combinations" if pairs else "single perturbations"
    unseen = unseen.subset(np.flatnonzero(unseen.conditions.sizes > 1 if pairs else unseen.single_p))
    if len(unseen) < LEAST:
        return Proof(what, len(unseen), 0.0, 1.0)
    weight_pg = _weights(fitted, unseen.conditions)
    said_pg = fitted.predict(unseen.conditions).delta_pg * weight_pg
    real_pg = unseen.delta_pg * weight_pg
    blocks = []
    for line in np.unique(unseen.conditions.cell_line):
        rows = np.flatnonzero(unseen.conditions.cell_line == line)
        if len(rows) >= 3:
            blocks.append(_cosines(said_pg[rows], real_pg[rows]))
    return _proof(what, blocks, np.random.default_rng(seed))


def check_interactions(fitted: Fitted, seen: EffectTable, unseen: EffectTable, *, seed: int = 0) -> Proof:
    """Compare predicted and measured interactions (pair less both singles) of unseen pairs whose singles were measured.

    Args:
        fitted: Any fitted model.
        seen: What it was fitted on: measured singles.
        unseen: Measured effects of conditions that it was not fitted on: pairs.
        seed: Of the permutations.
    """
    measured = _Measured(seen)
    told = measured.pairs(unseen)
    law = _per_product(fitted, measured.pairs(seen), told)
    n = len(told.pair)
    if n < LEAST:
        return Proof("pairs of measured singles", n, 0.0, 1.0, per_product=law)
    weight_ng = _weights(fitted, told.pair)
    said = [fitted.predict(asked).delta_pg for asked in (told.pair, *told.singles)]
    said_ng, real_ng = (said[0] - said[1] - said[2]) * weight_ng, told.extra_ng * weight_ng
    found = _proof("pairs of measured singles", [_cosines(said_ng, real_ng)], np.random.default_rng(seed))
    size_n = np.linalg.norm(said_ng, axis=1)
    along_n = np.einsum("ng,ng->n", said_ng, real_ng) / np.maximum(size_n, 1e-12)
    slope = max(float(along_n @ size_n / max(size_n @ size_n, 1e-12)), 0.0)
    sd = float(np.sqrt(np.square(along_n - slope * size_n).mean()))
    return replace(found, slope=slope, sd=sd, per_product=law)


@dataclass(frozen=True, eq=False)
class _Told:
    """Measured pairs, their singles, and what they do beyond the sum of both."""

    pair: Conditions
    singles: tuple[Conditions, Conditions]
    extra_ng: np.ndarray


class _Measured:
    """Measured singles of a table."""

    def __init__(self, seen: EffectTable) -> None:
        self.seen = seen
        keys = zip(seen.conditions.cell_line, seen.conditions.actions, strict=True)
        self.place = {key: row for row, key in enumerate(keys) if len(key[1].targets) == 1}

    def pairs(self, table: EffectTable) -> _Told:
        """Pairs of a table whose singles were measured."""
        rows, singles = [], []
        for row, (line, action) in enumerate(zip(table.conditions.cell_line, table.conditions.actions, strict=True)):
            parts = [(line, Action((target,), action.mode, action.dose)) for target in action.targets]
            if len(parts) == 2 and all(part in self.place for part in parts):
                rows.append(row)
                singles.append([self.place[part] for part in parts])
        a_n, b_n = np.array(singles, dtype=np.int64).reshape(-1, 2).T
        found = self.seen.conditions
        extra_ng = table.delta_pg[np.array(rows, np.int64)] - self.seen.delta_pg[a_n] - self.seen.delta_pg[b_n]
        return _Told(
            table.conditions.subset(np.array(rows, np.int64)), (found.subset(a_n), found.subset(b_n)), extra_ng
        )


def _per_product(fitted: Fitted, *told: _Told) -> float:
    """How interactions grow with the sizes of both singles, over all measured pairs; noise is what does not grow."""
    product, square = [np.zeros(0)], [np.zeros(0)]
    for part in told:
        if len(part.pair):
            weight_ng = _weights(fitted, part.pair)
            sizes = [np.linalg.norm(fitted.predict(one).delta_pg * weight_ng, axis=1) for one in part.singles]
            product.append(sizes[0] * sizes[1])
            square.append(np.square(part.extra_ng * weight_ng).sum(axis=1))
    x_n, y_n = np.square(np.concatenate(product)), np.concatenate(square)
    if len(x_n) < LEAST or np.ptp(x_n) == 0:
        return 0.0
    return float(np.sqrt(max(np.polyfit(x_n, y_n, 1)[0], 0.0)))


def _weights(fitted: Fitted, conditions: Conditions) -> np.ndarray:
    """[p, g] weights of genes in each condition's line, 0 for its own targets."""
    by_line = {line: goal_weights(fitted, line, None) for line in np.unique(conditions.cell_line)}
    weight_pg = np.stack([by_line[line] for line in conditions.cell_line])
    for row, action in enumerate(conditions.actions):
        own = [fitted.contexts.gene_position[t] for t in action.targets if t in fitted.contexts.gene_position]
        weight_pg[row, own] = 0
    return weight_pg


def _cosines(said_ng: np.ndarray, real_ng: np.ndarray) -> np.ndarray:
    return cosines(said_ng - said_ng.mean(axis=0), real_ng - real_ng.mean(axis=0))


def _proof(what: str, blocks: list[np.ndarray], rng: np.random.Generator) -> Proof:
    n = sum(len(block) for block in blocks)
    if n < LEAST:
        return Proof(what, n, 0.0, 1.0)

    def mean(orders: list[np.ndarray]) -> float:
        return sum(block[np.arange(len(block)), at].sum() for block, at in zip(blocks, orders, strict=True)) / n

    found = mean([np.arange(len(block)) for block in blocks])
    null = np.array([mean([rng.permutation(len(block)) for block in blocks]) for _ in range(N_PERMUTED)])
    return Proof(what, n, float(found), float(permutation_p(found, null)))
