"""Questions to a fitted model that several verbs share."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vc_model.plan.errors import PlanError
from vc_model.plan.library import check_known
from vc_model.predictor import Fitted, Prediction
from vc_model.table.effects import Action, Conditions

MOST_PAIRS = 40_000
CHUNK = 1_000
"""Actions that are predicted together: a library of 20,000 on 20,000 genes does not fit into memory at once."""


def predict_actions(fitted: Fitted, context: str, actions: Sequence[Action]) -> Prediction:
    """What a model says of actions in one context.

    Raises:
        PlanError: For an unknown context, with the nearest names.
    """
    check_known([context], set(fitted.contexts.cell_lines), "context", "the model")
    return fitted.predict(Conditions(np.repeat(context, len(actions)), tuple(actions)))


def measure_actions(
    fitted: Fitted,
    context: str,
    actions: Sequence[Action],
    measure: Callable[[Prediction, slice], Mapping[str, np.ndarray]],
    what: str = "library",
) -> dict[str, np.ndarray]:
    """Numbers per action, made block by block of what a model says.

    Args:
        fitted: Any fitted model.
        context: One of its cell lines.
        actions: The n actions; one at least.
        measure: What is said of a block, and which block -> name -> [block] numbers.
        what: Where the actions come from, for the refusal.

    Returns:
        Name -> [n] numbers, `supported` among them.

    Raises:
        PlanError: For an unknown context, or a model that supports none of the actions.
    """
    parts: list[dict[str, np.ndarray]] = []
    for at in range(0, len(actions), CHUNK):
        rows = slice(at, at + CHUNK)
        said = predict_actions(fitted, context, actions[rows])
        parts.append({**measure(said, rows), "supported": said.supported_p})
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if not found["supported"].any():
        raise PlanError(
            f"{what}: the model supports none of {len(actions)} actions (e.g. {actions[0].label}, mode {actions[0].mode}). "
            "It was trained on other modes, or knows no features of these targets."
        )
    return found


def join_actions(*actions: Action) -> Action:
    """All targets together; the mode and the dose of the first."""
    targets = {target for action in actions for target in action.targets}
    return Action(tuple(targets), actions[0].mode, max(action.dose for action in actions))


def all_pairs(actions: Sequence[Action], fixed: Action | None = None) -> list[tuple[Action, Action]]:
    """Every pair of single actions, or each with a fixed one.

    Raises:
        PlanError: If there are none, or more than 40,000.
    """
    partners = [] if fixed is None else [a for a in actions if not set(a.targets) & set(fixed.targets)]
    n = len(actions) * (len(actions) - 1) // 2 if fixed is None else len(partners)
    if not 0 < n <= MOST_PAIRS:
        raise PlanError(f"library: gives {n} pairs; expected 1 to {MOST_PAIRS}. Shorten it, or fix a partner.")
    if fixed is not None:
        return [(fixed, action) for action in partners]
    return [(a, b) for at, a in enumerate(actions) for b in actions[at + 1 :]]


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

    called = tuple(fitted.contexts.call(gene) for gene in genes)
    value_m, column_m = shared_genes(called, value_n, fitted.contexts.genes, "goal")
    goal_g = np.zeros(len(fitted.contexts.genes))
    goal_g[column_m] = value_m
    return goal_g
