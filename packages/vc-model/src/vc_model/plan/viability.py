"""Which pairs do a model's predictions say are lethal together? By a head that reads viability off expression."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vc_model.plan.ask_model import all_pairs, join_actions, measure_actions, predict_actions, verdicts
from vc_model.plan.doubt import association_p
from vc_model.plan.errors import PlanError
from vc_model.plan.figures import ranked_intervals
from vc_model.plan.library import check_known
from vc_model.plan.query import Scores
from vc_model.plan.results import Decision, ranged, rank_table
from vc_model.plan.surrogate import fit_posterior, left_out
from vc_model.predictor import Fitted, Prediction
from vc_model.table.effects import Action

LEAST_MEASURED, N_COMPONENTS = 20, 50
"""Measured singles that the head needs, and main components of effects that it reads."""
Z_CALL = 1.645
"""Standard deviations below which a pair is called."""


@dataclass(frozen=True, eq=False)
class Head:
    """A linear map from an effect on expression to viability.

    Attributes:
        weight_g: [g] viability per unit of effect.
        factor_gd: [g, d] F with posterior covariance of the weights F F^T.
        middle: Viability of cells without an effect, as far as singles tell.
        signal: Spearman correlation of left-out predictions with measured viability, and its p-value.
    """

    weight_g: np.ndarray
    factor_gd: np.ndarray
    middle: float
    signal: tuple[float, float]

    def value(self, delta_ng: np.ndarray) -> np.ndarray:
        """[n] expected viability."""
        return self.middle + delta_ng @ self.weight_g


def fit_head(delta_ng: np.ndarray, viability_n: np.ndarray, *, seed: int = 0) -> Head:
    """Fit to singles: ridge on the main components of their effects, variances by marginal likelihood."""
    mean_g = delta_ng.mean(axis=0, dtype=np.float64)
    u_nk, s_k, v_kg = np.linalg.svd(delta_ng - mean_g, full_matrices=False)
    k = max(1, min(N_COMPONENTS, int((s_k > 1e-6 * s_k[0]).sum())))
    scale = max(float(np.sqrt(np.square(s_k[:k]).sum() / len(delta_ng))), 1e-12)
    codes_nk = u_nk[:, :k] * s_k[:k] / scale
    posterior = fit_posterior([codes_nk], viability_n, seed=seed)
    signal = association_p(left_out(posterior, [codes_nk], viability_n), viability_n)
    weight_g = v_kg[:k].T @ posterior.mean_d / scale
    return Head(weight_g, v_kg[:k].T @ posterior.factor_dd / scale, float(posterior.centre - mean_g @ weight_g), signal)


def lethal_by_model(
    fitted: Fitted,
    context: str,
    actions: Sequence[Action],
    viability: Scores,
    *,
    fixed: Action | None = None,
    floor: float | None = None,
    seed: int = 0,
) -> Decision:
    """Rank pairs by v(A, B) - v(A) - v(B) + v(control), v read off predicted expression.

    A pair is called where this lies below 0 by more than its uncertainty and both singles are tolerated.

    Args:
        fitted: Any fitted model that predicts interactions.
        context: One of its cell lines.
        actions: Single actions.
        viability: Log viability or fitness of singles, named by target; 20 or more.
        fixed: The partner of all of them; None: all pairs.
        floor: Least viability of a tolerated single; default: the lower quartile of the measured ones.
        seed: Of subsampling.

    Raises:
        PlanError: For an unknown context, too few measured singles, no supported pair, or a model that adds effects.
    """
    by_name = {action.label: action for action in (*actions, *([fixed] if fixed else []))}
    shared = [name for name in viability.names if name in by_name]
    if len(shared) < LEAST_MEASURED:
        check_known(viability.names[:1], by_name, "viability", "the library")
        raise PlanError(
            f"viability: measured for {len(shared)} targets of the library; at least {LEAST_MEASURED} are needed."
        )
    value_of = dict(zip(viability.names, viability.score_n, strict=True))
    measured_n = np.array([value_of[name] for name in shared])
    names = list(by_name)
    row_of = {name: row for row, name in enumerate(names)}
    alone = predict_actions(fitted, context, [by_name[name] for name in names])
    head = fit_head(alone.delta_pg[[row_of[name] for name in shared]], measured_n, seed=seed)
    pairs = all_pairs(actions, fixed)
    joined = [join_actions(*pair) for pair in pairs]
    a_n, b_n = (np.array([row_of[pair[side].label] for pair in pairs]) for side in (0, 1))

    def measure(said: Prediction, rows: slice) -> dict[str, np.ndarray]:
        extra_ng = said.delta_pg - alone.delta_pg[a_n[rows]] - alone.delta_pg[b_n[rows]]
        var_n = said.var_pg @ np.square(head.weight_g) + np.square(extra_ng @ head.factor_gd).sum(axis=1)
        return {
            "eps": extra_ng @ head.weight_g,
            "sd": np.sqrt(var_n),
            "value": head.value(said.delta_pg),
            "extra": np.abs(extra_ng).max(axis=1),
            "size": np.abs(said.delta_pg).max(axis=1),
        }

    found = measure_actions(fitted, context, joined, measure)
    if found["extra"].max() < 1e-6 * max(float(found["size"].max()), 1e-12):
        raise PlanError("lethal: this model adds single effects, so it predicts no interaction. Use one that does.")
    return _decide(context, head, joined, found, head.value(alone.delta_pg), (a_n, b_n), floor, measured_n)


def _decide(context, head: Head, joined, found, value_k, rows, floor, measured_n) -> Decision:
    eps_n, sd_n = found["eps"], found["sd"]
    floor = float(np.quantile(measured_n, 0.25)) if floor is None else floor
    tolerated_n = (value_k[rows[0]] >= floor) & (value_k[rows[1]] >= floor)
    trusted = head.signal[0] > 0 and head.signal[1] <= 0.05
    called_n = (eps_n / np.maximum(sd_n, 1e-12) < -Z_CALL) & tolerated_n & trusted
    doubt_n = np.where(tolerated_n, np.where(called_n, "", "smaller than its uncertainty"), "a single is harmful alone")
    table = rank_table(
        {
            **ranged([action.label for action in joined], eps_n, sd_n),
            "evidence": [f"predicted viability {value:.2f} together" for value in found["value"]],
            "doubts": doubt_n,
            "support": verdicts(found["supported"]),
            "called": called_n,
        },
        np.lexsort((eps_n, ~tolerated_n)),
    )
    signal = f"left-out Spearman {head.signal[0]:.2f} over {len(measured_n)} singles"
    answer = (
        f"{int(called_n.sum())} of {len(joined)} pairs lose viability together by more than the uncertainty; first {table.iloc[0]['name']}."
        if called_n.any()
        else f"No pair loses more viability together than the uncertainty ({signal})."
    )
    doubts = ["Cells that died are not in single-cell data, so expression tells less of viability than it should."]
    if not trusted:
        doubts.append(f"Viability cannot be read off expression here ({signal}): nothing is called.")
    return Decision(
        "lethal",
        f"Which of {len(joined)} pairs are lethal together in {context}?",
        answer,
        table,
        lambda axes: ranked_intervals(axes, table, "viability beyond the sum of both (negative: sicker)"),
        "The pairs that are predicted to be sickest together, both tolerated alone; 90 % intervals.",
        {
            "context": context,
            "pairs": len(joined),
            "viability head": signal,
            "least viability of a single": f"{floor:.3g}",
        },
        tuple(doubts),
        called=bool(called_n.any()),
    )
