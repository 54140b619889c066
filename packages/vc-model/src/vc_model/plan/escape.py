"""How could cells escape a perturbation, and what blocks that?"""

from collections.abc import Sequence

import numpy as np

from vc_model.plan.ask_model import goal_weights, join_actions, measure_actions, predict_actions, verdicts
from vc_model.plan.errors import PlanError
from vc_model.plan.figures import ranked_intervals
from vc_model.plan.results import Decision, rank_table
from vc_model.predictor import Fitted, Prediction
from vc_model.table.effects import Action

N_BLOCKED = 10


def escape(fitted: Fitted, context: str, given: Action, library: Sequence[Action]) -> Decision:
    """Rank second perturbations by how much of the first one's effect they undo; name what would block the first routes.

    Recovery is 1 - |effect of both| / |effect of the given one|, genes weighed by their noise. A blocker of a route is a
    third perturbation with which least is recovered; the best one is the best against the worst route.

    Args:
        fitted: Any fitted model.
        context: One of its cell lines.
        given: What the cells are to escape from.
        library: What could change in them.

    Raises:
        PlanError: For an unknown context, or no supported route.
    """
    routes = [action for action in library if not set(action.targets) & set(given.targets)]
    joined = [join_actions(given, action) for action in routes]
    if not routes:
        raise PlanError(f"library: nothing in it but {given.label} itself. Give other targets that cells could change.")
    alone = predict_actions(fitted, context, [given])
    weight_g = goal_weights(fitted, context, None)
    size = max(float(np.linalg.norm(alone.delta_pg[0] * weight_g)), 1e-12)

    def measure(said: Prediction, _: slice) -> dict[str, np.ndarray]:
        var_n = (said.var_pg * weight_g**2).sum(axis=1) / max((weight_g > 0).sum(), 1)
        return {"left": np.linalg.norm(said.delta_pg * weight_g, axis=1), "sd": np.sqrt(var_n)}

    found = measure_actions(fitted, context, joined, measure)
    recovery_n, sd_n = 1 - found["left"] / size, found["sd"] / size
    order = np.argsort(-recovery_n, kind="stable")
    blockers, worst = _blockers(
        fitted, context, given, [routes[row] for row in order[:N_BLOCKED]], routes, weight_g, size
    )
    table = rank_table(
        {
            "name": [action.label for action in routes],
            "effect": recovery_n,
            "low": recovery_n - 1.645 * sd_n,
            "high": recovery_n + 1.645 * sd_n,
            "evidence": f"predicted with {given.label}",
            "doubts": np.where(recovery_n < sd_n, "recovers less than its uncertainty", ""),
            "support": verdicts(found["supported"]),
            "blocked_by": [blockers.get(action.label, "") for action in routes],
        },
        order,
    )
    sure = int((table["low"] > 0).sum())
    best = table.iloc[0]
    return Decision(
        "escape",
        f"What undoes {given.label} in {context}?",
        f"{best['name']} recovers most ({best['effect']:.0%}). {worst}"
        if sure
        else "No route recovers more than its uncertainty.",
        table,
        lambda axes: ranked_intervals(axes, table, f"share of the effect of {given.label} that is undone"),
        "The first routes of escape.",
        {"context": context, "routes": len(routes), "size of the effect": f"{size:.3g}"},
        ("Growth is not modelled: a route that restores expression need not restore growth.",),
        called=sure > 0,
    )


def _blockers(fitted, context, given, routes, library, weight_g, size) -> tuple[dict[str, str], str]:
    """Best blocker of each route, and the one that is best against the worst route."""
    options = library[:200]
    recovery_rb = np.full((len(routes), len(options)), np.inf)
    for row, route in enumerate(routes):
        at = [column for column, action in enumerate(options) if not set(action.targets) & set(route.targets)]
        three = predict_actions(fitted, context, [join_actions(given, route, options[column]) for column in at])
        # A block that only pushes elsewhere is no recovery either: what counts is the part along the given effect.
        given_g = predict_actions(fitted, context, [given]).delta_pg[0] * weight_g
        recovery_rb[row, at] = 1 - (three.delta_pg * weight_g) @ given_g / size**2
    best = {route.label: options[int(recovery_rb[row].argmin())].label for row, route in enumerate(routes)}
    worst_b = np.where(np.isfinite(recovery_rb), recovery_rb, -np.inf).max(axis=0)
    return best, f"{options[int(worst_b.argmin())].label} leaves the least of all first routes."
