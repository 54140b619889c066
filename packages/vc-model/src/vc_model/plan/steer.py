"""Which sequence of perturbations brings cells to a goal, step by step?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vc_model.plan.ask_model import CHUNK, goal_weights, measure_actions
from vc_model.plan.results import Decision, rank_table
from vc_model.predictor import Fitted
from vc_model.table.effects import Action, Conditions

WIDTH = 16


@dataclass(frozen=True, eq=False)
class _Path:
    actions: tuple[int, ...]
    state_g: np.ndarray
    var_g: np.ndarray
    gaps: tuple[float, ...]
    supported: bool


def steer(fitted: Fitted, context: str, goal_g: np.ndarray, library: Sequence[Action], *, steps: int = 3) -> Decision:
    """Beam search over sequences; the predicted state of each step is the unperturbed state of the next.

    A path's cost is the sum of its distances to the goal, which favours paths that approach early. Variances add from
    step to step.

    Args:
        fitted: Any fitted model.
        context: Where to start: one of its cell lines.
        goal_g: [g] wanted change over the model's genes.
        library: Actions to choose from.
        steps: Most steps.

    Raises:
        PlanError: For an unknown context, or a library of which nothing is supported.
    """
    measure_actions(fitted, context, library, lambda said, _: {})
    weight_g = goal_weights(fitted, context, goal_g)
    zero_g = np.zeros(len(goal_g))
    start = float(np.linalg.norm(goal_g * weight_g))
    beam, kept = [_Path((), zero_g, zero_g, (1.0,), True)], []
    for _ in range(steps):
        grown = [path for have in beam for path in _grow(fitted, context, have, library, goal_g, weight_g, start)]
        grown.sort(key=lambda path: sum(path.gaps))
        beam = grown[:WIDTH]
        kept += beam
    gap_n = np.array([path.gaps[-1] for path in kept])
    sd_n = np.array([np.sqrt((path.var_g * weight_g**2).sum() / max((weight_g > 0).sum(), 1)) / start for path in kept])
    # A longer path has to come nearer by more than its uncertainty grows.
    order = np.argsort(gap_n + sd_n, kind="stable")
    greedy = min((path for path in kept if len(path.actions) == 1), key=lambda path: path.gaps[-1])
    table = rank_table(
        {
            "name": [" > ".join(library[row].label for row in path.actions) for path in kept],
            "effect": 1 - gap_n,
            "low": 1 - gap_n - 1.645 * sd_n,
            "high": 1 - gap_n + 1.645 * sd_n,
            "evidence": ["distance " + " > ".join(f"{gap:.2f}" for gap in path.gaps) for path in kept],
            "doubts": [
                "order and later steps rest on the model alone" if len(path.actions) > 1 else "" for path in kept
            ],
            "support": ["supported" if path.supported and len(path.actions) == 1 else "extrapolation" for path in kept],
            "steps": [len(path.actions) for path in kept],
            "sd": sd_n,
        },
        order,
    )
    best = kept[order[0]]

    def draw(axes) -> None:
        for row in order[:8]:
            axes.plot(range(len(kept[row].gaps)), kept[row].gaps, color="#8c959f", lw=1)
        axes.errorbar(
            range(len(best.gaps)),
            best.gaps,
            yerr=sd_n[order[0]] * np.sqrt(np.arange(len(best.gaps))),
            color="#1f6f54",
            marker="o",
        )
        axes.set(xlabel="step", ylabel="distance to the goal (start = 1)", xticks=range(steps + 1))

    called = bool(best.gaps[-1] + sd_n[order[0]] < 1)
    return Decision(
        "steer",
        f"Which steps bring {context} to the goal?",
        f"{table.iloc[0]['name']}: distance {best.gaps[-1]:.2f} of the start's, against {greedy.gaps[-1]:.2f} in one step."
        if called
        else "No sequence comes nearer to the goal by more than its uncertainty.",
        table,
        draw,
        "Distance to the goal along the best path (green, uncertainty growing) and the next ones.",
        {"context": context, "steps": steps, "library": len(library)},
        ("Training data have one step: what a second one does to changed cells is extrapolation.",),
        called=called,
    )


def _grow(fitted, context, have, library, goal_g, weight_g, start) -> list[_Path]:
    line = int(fitted.contexts.positions([context])[0])
    moved = [np.maximum(array + (np.arange(len(array)) == line)[:, None] * have.state_g, 0).astype(np.float32)
             for array in (fitted.contexts.input_cg, fitted.contexts.base_cg)]  # fmt: skip
    contexts = replace(fitted.contexts, input_cg=moved[0], base_cg=moved[1])
    at = [row for row in range(len(library)) if row not in have.actions]
    found: list[_Path] = []
    for start_row in range(0, len(at), CHUNK):
        block = at[start_row : start_row + CHUNK]
        said = fitted.predict(
            Conditions(np.repeat(context, len(block)), tuple(library[row] for row in block), contexts)
        )
        gap_n = np.linalg.norm((goal_g - have.state_g - said.delta_pg) * weight_g, axis=1) / start
        found += [
            _Path(
                (*have.actions, block[row]),
                have.state_g + said.delta_pg[row],
                have.var_g + said.var_pg[row],
                (*have.gaps, float(gap_n[row])),
                have.supported and bool(said.supported_p[row]),
            )
            for row in np.argsort(gap_n, kind="stable")[:WIDTH]
        ]
    return sorted(found, key=lambda path: path.gaps[-1])[:WIDTH]
