"""What else would a compound do, in every context, and which is the best trade?"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from vc_model.plan.ask_model import goal_weights, measure_actions
from vc_model.plan.errors import PlanError
from vc_model.plan.figures import N_NAMED, name_beside
from vc_model.plan.results import Decision, rank_table
from vc_model.predictor import Fitted, Prediction
from vc_model.table.effects import Action


def safety(
    fitted: Fitted,
    actions: Sequence[Action],
    panels: Mapping[str, Sequence[str]],
    *,
    contexts: Sequence[str] | None = None,
    goal_g: np.ndarray | None = None,
) -> Decision:
    """Rank actions by efficacy less their worst panel response, with the Pareto front of both.

    A panel's response is the mean predicted change of its genes over that of genes drawn at random, in units of the
    standard deviation of such draws; the worst is over contexts and panels.

    Args:
        fitted: Any fitted model.
        actions: Compounds or targets, the same one at several doses where doses matter.
        panels: Panel -> genes whose response is unwanted (core-essential, apoptosis, ...).
        contexts: Cell lines; default: all of the model's.
        goal_g: [g] wanted change; None: efficacy is the size of the effect.

    Raises:
        PlanError: If no panel has 3 genes of the model's, or the model supports no action.
    """
    lines = list(contexts or fitted.contexts.cell_lines)
    columns = _panel_columns(fitted.contexts.genes, panels)
    worst_n, where_n = np.full(len(actions), -np.inf), np.full(len(actions), "", dtype=object)
    useful_ln, supported_n, sd_ln = [], np.ones(len(actions), bool), []
    for line in lines:
        weight_g = goal_weights(fitted, line, None)
        aim_g = None if goal_g is None else goal_g * weight_g / np.linalg.norm(goal_g * weight_g)
        found = measure_actions(fitted, line, actions, partial(_measure, columns, weight_g, aim_g))
        supported_n &= found["supported"]
        for name in columns:
            more_n = found[name] > worst_n
            worst_n[more_n], where_n[more_n] = found[name][more_n], f"{name} in {line}"
        useful_ln.append(found["_useful"])
        sd_ln.append(found["_sd"])
    useful_n, sd_n = np.mean(useful_ln, axis=0), np.mean(sd_ln, axis=0)
    front_n = _front(useful_n, -worst_n) & supported_n
    score_n = _unit(useful_n) - _unit(worst_n)
    table = rank_table(
        {
            "name": [f"{a.label} at {a.dose:g}" if a.dose else a.label for a in actions],
            "effect": useful_n,
            "low": useful_n - 1.645 * sd_n,
            "high": useful_n + 1.645 * sd_n,
            "evidence": [f"worst response: {place}" for place in where_n],
            "doubts": np.where(supported_n, "", "outside what the model was trained on: not ranked by it"),
            "support": np.where(supported_n, "supported", "no support"),
            "worst_panel": worst_n,
            "trade": score_n,
            "on_front": front_n,
        },
        np.lexsort((-score_n, ~front_n, ~supported_n)),
    )

    def draw(axes) -> None:
        axes.scatter(useful_n, worst_n, s=14, c=np.where(supported_n, "#8c959f", "#b42318"))
        at = np.flatnonzero(front_n)[np.argsort(useful_n[front_n])]
        axes.plot(useful_n[at], worst_n[at], "o-", color="#1f6f54")
        name_beside(axes, [(useful_n[row], worst_n[row], actions[row].label) for row in at[-N_NAMED:]])
        axes.set(xlabel="efficacy", ylabel="worst panel response (standard deviations)")

    return Decision(
        "safety",
        f"Which of {len(actions)} actions does most with the least harm?",
        f"{int(front_n.sum())} lie on the front; {int((~supported_n).sum())} are outside support and are not judged.",
        table,
        draw,
        "Efficacy against the worst panel response; the line is the Pareto front, red is outside support.",
        {"contexts": ", ".join(lines), "panels": ", ".join(f"{k} ({len(v)} genes)" for k, v in columns.items())},
        ("Predicted expression is not toxicity: a panel stands for what its genes are known for.",),
        called=bool(front_n.any()),
    )


def _measure(
    columns: Mapping[str, list[int]], weight_g: np.ndarray, aim_g: np.ndarray | None, said: Prediction, _: slice
) -> dict[str, np.ndarray]:
    """Response of each panel, efficacy and its standard deviation, of a block of actions."""
    delta_ng = said.delta_pg * weight_g
    mean_n, sd_n = delta_ng.mean(axis=1), np.maximum(delta_ng.std(axis=1), 1e-9)
    panels = {
        name: np.abs(delta_ng[:, at].mean(axis=1) - mean_n) / (sd_n / np.sqrt(len(at))) for name, at in columns.items()
    }
    useful_n = np.linalg.norm(delta_ng, axis=1) if aim_g is None else delta_ng @ aim_g
    return {**panels, "_useful": useful_n, "_sd": np.sqrt((said.var_pg * weight_g**2).mean(axis=1))}


def _panel_columns(genes: Sequence[str], panels: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """Panel -> columns of its genes, for panels with at least 3 genes that the model predicts."""
    column_of = {gene: column for column, gene in enumerate(genes)}
    columns = {name: [column_of[gene] for gene in panel if gene in column_of] for name, panel in panels.items()}
    columns = {name: at for name, at in columns.items() if len(at) >= 3}
    if not columns:
        raise PlanError(
            f"panels: none of {len(panels)} has 3 genes that the model predicts. Name genes as the model does."
        )
    return columns


def _front(x_n: np.ndarray, y_n: np.ndarray) -> np.ndarray:
    """[n] bool, entries that no other beats on both."""
    order = np.lexsort((-y_n, -x_n))
    best, front_n = -np.inf, np.zeros(len(x_n), bool)
    for row in order:
        if y_n[row] > best:
            front_n[row], best = True, y_n[row]
    return front_n


def _unit(x_n: np.ndarray) -> np.ndarray:
    return (x_n - x_n.mean()) / max(float(x_n.std()), 1e-12)
