"""Which perturbations do together what neither does alone?"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import norm

from vc_model.plan.ask_model import all_pairs, goal_weights, join_actions, measure_actions, predict_actions, verdicts
from vc_model.plan.doubt import FDR, false_discovery_rate
from vc_model.plan.errors import PlanError
from vc_model.plan.figures import ranked_intervals
from vc_model.plan.proof import Proof
from vc_model.plan.results import Decision, ranged, rank_table
from vc_model.predictor import Fitted, Prediction
from vc_model.table.effects import Action

SMALL = 1e-6


def combo(
    fitted: Fitted,
    context: str,
    actions: Sequence[Action],
    *,
    fixed: Action | None = None,
    goal_g: np.ndarray | None = None,
    proof: Proof | None = None,
) -> Decision:
    """Rank pairs by their interaction, or by how much nearer to a goal they come than their better half.

    A model's interactions are called only where measured pairs that it was not fitted on bear them out
    (`vc_model.plan.proof.check_interactions`): sizes are then those to expect of a measurement, and a pair is called where
    what such predictions were wrong by does not explain its size, at a false discovery rate of 10 %. Pairs are ranked by
    `interaction`, the size to expect whatever its direction: the model's, and what measured pairs with singles of such
    sizes do beyond it.

    Args:
        fitted: Any fitted model.
        context: One of its cell lines.
        actions: Single actions.
        fixed: The partner of all of them; None: all pairs.
        goal_g: [g] wanted change over the model's genes; None: rank by the size of the interaction.
        proof: How the model's interactions did on measured pairs; None: nobody checked, and no interaction is called.

    Raises:
        PlanError: For an unknown context, no supported pair, or a model that adds effects and so has no interaction.
    """
    pairs = all_pairs(actions, fixed)
    joined = [join_actions(*pair) for pair in pairs]
    singles = list(dict.fromkeys([*actions, *([fixed] if fixed else [])]))
    row_of = {action: row for row, action in enumerate(singles)}
    alone = predict_actions(fitted, context, singles)
    a_n, b_n = (np.array([row_of[pair[side]] for pair in pairs]) for side in (0, 1))
    weight_g = goal_weights(fitted, context, goal_g)
    aim_g = None if goal_g is None else goal_g * weight_g / np.linalg.norm(goal_g * weight_g)
    single_kg = alone.delta_pg * weight_g

    found = measure_actions(fitted, context, joined, partial(_measure, weight_g, aim_g, single_kg, a_n, b_n))
    size_n, sd_n = found["size"], found["sd"]
    if goal_g is None and size_n.max() < SMALL * max(float(found["norm"].max()), 1e-12):
        raise PlanError(
            "combo: this model adds single effects, so it predicts no interaction. Use a model with one (anchored, trained on "
            "some pairs), or rank by a goal."
        )
    trusted = True
    if aim_g is None:
        effect_n = size_n
        if proof is not None and np.isfinite(proof.sd):
            effect_n, sd_n = proof.slope * size_n, np.full(len(pairs), proof.sd)
        single_k = np.linalg.norm(single_kg, axis=1)
        beyond_n = (0.0 if proof is None else proof.per_product) * single_k[a_n] * single_k[b_n]
        order_n = np.hypot(effect_n, beyond_n)
        better_n = found["norm"] - np.maximum(single_k[a_n], single_k[b_n])
        label, trusted = "size of the interaction (control standard deviations)", proof is not None and proof.holds
    else:
        along_k = single_kg @ aim_g
        order_n = effect_n = better_n = found["aimed"] - np.maximum(along_k[a_n], along_k[b_n])
        label = "way towards the goal beyond the better single"
    p_n = norm.sf(effect_n / np.maximum(sd_n, 1e-12)) if trusted else np.ones(len(pairs))
    q_n = false_discovery_rate(p_n)
    table = rank_table(
        {
            **ranged([action.label for action in joined], effect_n, sd_n),
            "evidence": [f"additive part {size:.2f}" for size in found["sum"]],
            "doubts": np.where(q_n > FDR, "may be chance", ""),
            "support": verdicts(found["supported"]),
            "sd": sd_n,
            "beyond_best_single": better_n,
            "interaction": size_n if aim_g is not None else order_n,
            "class": np.where(found["with_sum"] > 0, "synergy", "buffering"),
            "p": p_n,
            "q": q_n,
        },
        np.argsort(-order_n, kind="stable"),
    )
    return _decide(context, table, len(pairs), label, proof if goal_g is None else None, goal_g is None)


def _measure(
    weight_g: np.ndarray,
    aim_g: np.ndarray | None,
    single_kg: np.ndarray,
    a_n: np.ndarray,
    b_n: np.ndarray,
    said: Prediction,
    rows: slice,
) -> dict[str, np.ndarray]:
    """Sizes of a block of pairs: of the interaction, the pair, the sum of its parts, what is aimed at, and the error."""
    pair_ng, sum_ng = said.delta_pg * weight_g, single_kg[a_n[rows]] + single_kg[b_n[rows]]
    extra_ng = pair_ng - sum_ng
    size_n = np.linalg.norm(extra_ng, axis=1)
    # The error is that of the sum over genes along the prediction or the goal; genes' errors taken as independent.
    unit_ng = extra_ng / np.maximum(size_n, 1e-12)[:, None] if aim_g is None else aim_g
    return {
        "size": size_n,
        "norm": np.linalg.norm(pair_ng, axis=1),
        "sum": np.linalg.norm(sum_ng, axis=1),
        "with_sum": np.einsum("ng,ng->n", extra_ng, sum_ng),
        "aimed": np.zeros(len(size_n)) if aim_g is None else pair_ng @ aim_g,
        "sd": np.sqrt((said.var_pg * np.square(weight_g * unit_ng)).sum(axis=1)),
    }


def _decide(context: str, table: pd.DataFrame, n: int, label: str, proof: Proof | None, by_size: bool) -> Decision:
    best, sure = table.iloc[0], int((table["q"] <= FDR).sum())
    what = "differ from the sum of their parts" if by_size else "come nearer to the goal than their better half"
    if sure:
        answer = f"{best['name']} first ({best['class']}); {sure} pairs {what} at a false discovery rate of {FDR:.0%}."
    elif by_size and proof is None:
        answer = "No pair is called: no measured pair was held out, so nobody knows whether this model's interactions are real."
    elif proof is not None and not proof.holds:
        answer = f"No pair is called: {proof.text}. The order below is no evidence."
    else:
        answer = f"No pair stands out at a false discovery rate of {FDR:.0%}."
    facts = {"context": context, "pairs": n, "ranked by": label}
    return Decision(
        "combo",
        f"Which of {n} pairs does more than its parts in {context}?",
        answer,
        table,
        lambda axes: ranked_intervals(axes, table, label),
        "The first pairs, with 90 % intervals.",
        facts if proof is None else {**facts, "check on held-out pairs": proof.text},
        (),
        called=sure > 0,
    )
