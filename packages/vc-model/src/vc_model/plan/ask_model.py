"""Questions to a fitted model that several verbs share."""

from collections.abc import Sequence

import numpy as np

from vc_model.plan.errors import PlanError
from vc_model.plan.library import check_known
from vc_model.predictor import Fitted, Prediction
from vc_model.table.effects import Action, Conditions

MOST_PAIRS = 40_000
CHUNK = 2_000


def predict_actions(fitted: Fitted, context: str, actions: Sequence[Action]) -> Prediction:
    """What a model says of actions in one context.

    Raises:
        PlanError: For an unknown context, with the nearest names.
    """
    check_known([context], set(fitted.contexts.cell_lines), "context", "the model")
    return fitted.predict(Conditions(np.repeat(context, len(actions)), tuple(actions)))


def join_actions(*actions: Action) -> Action:
    """All targets together; the mode and the dose of the first."""
    targets = {target for action in actions for target in action.targets}
    return Action(tuple(targets), actions[0].mode, max(action.dose for action in actions))


def all_pairs(actions: Sequence[Action], fixed: Action | None = None) -> list[tuple[Action, Action]]:
    """Every pair of single actions, or each with a fixed one.

    Raises:
        PlanError: If there are none, or more than 40,000.
    """
    if fixed is not None:
        pairs = [(fixed, action) for action in actions if not set(action.targets) & set(fixed.targets)]
    else:
        pairs = [(a, b) for at, a in enumerate(actions) for b in actions[at + 1 :]]
    if not 0 < len(pairs) <= MOST_PAIRS:
        raise PlanError(f"library: gives {len(pairs)} pairs; expected 1 to {MOST_PAIRS}. Shorten it, or fix a partner.")
    return pairs


def require_support(prediction: Prediction, actions: Sequence[Action], what: str) -> None:
    """Refuse a question of which the model supports nothing.

    Raises:
        PlanError: Names the first action.
    """
    if len(actions) and not prediction.supported_p.any():
        raise PlanError(
            f"{what}: the model supports none of {len(actions)} actions (e.g. {actions[0].label}, mode {actions[0].mode}). "
            "It was trained on other modes, or knows no features of these targets."
        )


def verdicts(supported_p: np.ndarray) -> np.ndarray:
    """[p] `supported` or `extrapolation`."""
    return np.where(supported_p, "supported", "extrapolation")


def goal_weights(fitted: Fitted, context: str, goal_g: np.ndarray | None) -> np.ndarray:
    """[g] weights of genes: inverse standard deviation over control cells, 0 where a goal says nothing."""
    row = int(fitted.contexts.positions([context])[0])
    sd_g = np.sqrt(fitted.contexts.sigma2_cg[row]).astype(np.float64)
    weight_g = 1 / (sd_g + np.median(sd_g[sd_g > 0]))
    return weight_g if goal_g is None else np.where(np.isfinite(goal_g) & (goal_g != 0), weight_g, 0)


def goal_on(fitted: Fitted, genes: Sequence[str], value_n: np.ndarray) -> np.ndarray:
    """[g] a signature over the model's genes, 0 elsewhere.

    Raises:
        PlanError: If fewer than 20 of its genes are the model's, or nothing is to be reached.
    """
    from vc_model.plan.query import shared_genes

    value_m, column_m = shared_genes(tuple(genes), value_n, fitted.contexts.genes, "goal")
    goal_g = np.zeros(len(fitted.contexts.genes))
    goal_g[column_m] = value_m
    return goal_g
