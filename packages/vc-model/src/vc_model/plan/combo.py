"""Which perturbations do together what neither does alone?"""

from collections.abc import Sequence

import numpy as np

from vc_model.plan.ask_model import all_pairs, goal_weights, join_actions, predict_actions, require_support, verdicts
from vc_model.plan.errors import PlanError
from vc_model.plan.figures import ranked_intervals
from vc_model.plan.results import Decision, rank_table
from vc_model.predictor import Fitted
from vc_model.table.effects import Action

SMALL = 1e-6


def combo(
    fitted: Fitted,
    context: str,
    actions: Sequence[Action],
    *,
    fixed: Action | None = None,
    goal_g: np.ndarray | None = None,
) -> Decision:
    """Rank pairs by their interaction, or by how much nearer to a goal they come than their better half.

    Args:
        fitted: Any fitted model.
        context: One of its cell lines.
        actions: Single actions.
        fixed: The partner of all of them; None: all pairs.
        goal_g: [g] wanted change over the model's genes; None: rank by the size of the interaction.

    Raises:
        PlanError: For an unknown context, no supported pair, or a model that adds effects and so has no interaction.
    """
    pairs = all_pairs(actions, fixed)
    joined = [join_actions(*pair) for pair in pairs]
    singles = list(dict.fromkeys([*actions, *([fixed] if fixed else [])]))
    row_of = {action: row for row, action in enumerate(singles)}
    alone, together = predict_actions(fitted, context, singles), predict_actions(fitted, context, joined)
    require_support(together, joined, "library")
    a_n, b_n = (np.array([row_of[pair[side]] for pair in pairs]) for side in (0, 1))
    weight_g = goal_weights(fitted, context, goal_g)
    single_kg, pair_ng = alone.delta_pg * weight_g, together.delta_pg * weight_g
    extra_ng = pair_ng - single_kg[a_n] - single_kg[b_n]
    size_n = np.linalg.norm(extra_ng, axis=1)
    if goal_g is None and size_n.max() < SMALL * max(float(np.linalg.norm(pair_ng, axis=1).max()), 1e-12):
        raise PlanError(
            "combo: this model adds single effects, so it predicts no interaction. Use a model with one (anchored, trained on "
            "some pairs), or rank by a goal."
        )
    sd_n = np.linalg.norm(np.sqrt(together.var_pg) * weight_g, axis=1) / np.sqrt(np.maximum((weight_g > 0).sum(), 1))
    if goal_g is None:
        effect_n, label = size_n, "size of the interaction (control standard deviations)"
        single_k = np.linalg.norm(single_kg, axis=1)
        better_n = np.linalg.norm(pair_ng, axis=1) - np.maximum(single_k[a_n], single_k[b_n])
    else:
        aim_g = goal_g * weight_g / np.linalg.norm(goal_g * weight_g)
        along_n, along_k = pair_ng @ aim_g, single_kg @ aim_g
        effect_n = better_n = along_n - np.maximum(along_k[a_n], along_k[b_n])
        label = "way towards the goal beyond the better single"
    along_n = np.einsum("ng,ng->n", extra_ng, single_kg[a_n] + single_kg[b_n])
    table = rank_table(
        {
            "name": [action.label for action in joined],
            "effect": effect_n,
            "low": effect_n - 1.645 * sd_n,
            "high": effect_n + 1.645 * sd_n,
            "evidence": [
                f"additive part {size:.2f}" for size in np.linalg.norm(single_kg[a_n] + single_kg[b_n], axis=1)
            ],
            "doubts": np.where(effect_n < sd_n, "smaller than its uncertainty", ""),
            "support": verdicts(together.supported_p),
            "sd": sd_n,
            "beyond_best_single": better_n,
            "interaction": size_n,
            "class": np.where(along_n > 0, "synergy", "buffering"),
        },
        np.argsort(-effect_n, kind="stable"),
    )
    best = table.iloc[0]
    sure = int((table["low"] > 0).sum())
    return Decision(
        "combo",
        f"Which of {len(pairs)} pairs does more than its parts in {context}?",
        f"{best['name']} first ({best['class']}); {sure} pairs differ from the sum of their parts by more than their uncertainty."
        if sure
        else "No pair differs from the sum of its parts by more than its uncertainty.",
        table,
        lambda axes: ranked_intervals(axes, table, label),
        "The first pairs, with the model's 90 % interval.",
        {"context": context, "pairs": len(pairs), "ranked by": label},
        (),
        called=sure > 0,
    )
