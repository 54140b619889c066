"""Which perturbation brings cells from where they are to where they should be?"""

from collections.abc import Callable

import numpy as np

from vc_model.plan.bank import EffectBank
from vc_model.plan.connect import Agreement, agree
from vc_model.plan.doubt import FDR, told_apart
from vc_model.plan.figures import ranked_intervals
from vc_model.plan.gradient import find_ideal
from vc_model.plan.results import Decision, rank_table

BEAM = 64


def target(
    genes: tuple[str, ...],
    value_g: np.ndarray,
    bank: EffectBank,
    *,
    max_size: int = 1,
    pairs: Callable[[list[tuple[str, ...]]], np.ndarray] | None = None,
    background_g: np.ndarray | None = None,
    seed: int = 0,
) -> Decision:
    """Rank the perturbations of a bank by how well they make a wanted change.

    Perturbations that were never measured (`vc_model.plan.extend`) stand at the cosine that their measurement is expected
    to have, with the error of such predictions and a calibrated chance of being among the best twentieth.

    Args:
        genes: Genes of the wanted change (goal minus start).
        value_g: The change.
        bank: Effects to choose from.
        max_size: Largest number of perturbations together; above 1 a beam search over sums follows the scan.
        pairs: Effects [n, g] of combinations, over the bank's genes; None: sums of single effects.
        background_g: Mean of many changes of the same kind over the same genes, which is removed first.
        seed: Of the null and the draws.

    Raises:
        PlanError: If too few genes are measured, or there is nothing to reach.
    """
    found = agree(genes, value_g, bank, background_g=background_g, seed=seed)
    order = np.argsort(-found.cosine_k, kind="stable")
    group_k = told_apart(found.draws_dk, order)
    called = found.q_k <= FDR
    low_k, high_k = np.quantile(found.draws_dk, [0.05, 0.95], axis=0)
    rows = {
        "name": list(bank.names),
        "effect": found.cosine_k,
        "low": low_k,
        "high": high_k,
        "evidence": _evidence(found, bank),
        "doubts": [_doubt(row, order[0], group_k, found.q_k[row]) for row in range(len(group_k))],
        "support": np.where(bank.supported_k, "supported", "extrapolation"),
        "p": found.p_k,
        "q": found.q_k,
        "chance_of_hit": found.chance_k,
        "group": group_k,
        "size": 1,
    }
    table = rank_table(rows, order)
    gap = _gap(found, bank)
    if max_size > 1:
        table = _with_combinations(table, found, bank, max_size, pairs)
    n_called, best = int(called.sum()), table.iloc[0]
    tied = int((group_k == 1).sum())
    answer = (
        f"{best['name']} comes nearest (cosine {best['effect']:.2f}); of {len(bank.names)} perturbations, {n_called} stand out at a "
        f"false discovery rate of {FDR:.0%}, and {tied - 1} cannot be told apart from the best."
        if n_called
        else f"Nothing stands out from chance at a false discovery rate of {FDR:.0%}; the order below is not evidence."
    )
    return Decision(
        "target",
        f"Which of {len(bank.names)} perturbations makes the wanted change?",
        answer,
        table,
        lambda axes: ranked_intervals(axes, table, "cosine with the wanted change, with 90 % interval over genes"),
        "The best perturbations; entries whose intervals overlap the first one's belong to its group.",
        {"effects": bank.source, "genes compared": len(found.goal_m), **gap, "seed": seed},
        ()
        if bank.supported_k.all()
        else (f"{int((~bank.supported_k).sum())} entries lie outside what the source supports.",),
        called=n_called > 0,
    )


def _doubt(row: int, best: int, group_k: np.ndarray, q: float) -> str:
    parts = []
    if group_k[row] == 1 and row != best:
        parts = ["not told apart from the best"]
    elif row == best and (group_k == 1).sum() > 1:
        parts = ["others are not told apart from it"]
    return "; ".join([*parts, "may be chance"] if q > FDR else parts)


def _evidence(found: Agreement, bank: EffectBank) -> list[str]:
    new_k = np.zeros(len(bank.names), bool) if bank.foretold is None else bank.foretold.new_k
    kind = "expected from features" if bank.foretold is not None else "cosine"
    return [f"{kind if new else 'cosine'} over {len(found.goal_m)} genes" for new in new_k]


def _gap(found: Agreement, bank: EffectBank) -> dict[str, str]:
    """How near the ideal action comes to the goal, and the real ones."""
    ideal = find_ideal(
        found.frame.left_km, found.cosine_k, found.goal_m, None if bank.foretold is None else bank.foretold.code_kd
    )
    near = ", ".join(bank.names[row] for row in ideal.rows[:3])
    return {
        "ideal and real action": f"the ideal action (gradient in the space of actions) would reach cosine {ideal.cosine:.2f}; the "
        f"real ones most like it are {near}, of which the best reaches {ideal.real:.2f}: a gap of {ideal.gap:.2f}. Best "
        f"of the whole library: {found.cosine_k.max():.2f}"
    }


def _with_combinations(table, found: Agreement, bank: EffectBank, max_size: int, pairs):
    """Beam search: the best singles, then each with every other, the best kept at each size."""
    import pandas as pd

    goal_m, made = found.goal_m, found.frame
    beam: list[tuple[int, ...]] = [(int(row),) for row in np.argsort(-found.cosine_k)[:BEAM]]
    added = []
    for size in range(2, max_size + 1):
        options = sorted(
            {tuple(sorted({*have, row})) for have in beam for row in np.argsort(-found.cosine_k)[: 4 * BEAM].tolist()}
        )
        options = [rows for rows in options if len(rows) == size]
        if pairs is None:
            sum_nm = np.stack([made.left_km[list(rows)].sum(axis=0) for rows in options])
        else:
            effect_ng = pairs([tuple(bank.names[row] for row in rows) for rows in options])
            sum_nm = (effect_ng[:, made.column_m] - size * made.mean_m) * made.weight_m
        cosine_n = sum_nm @ goal_m / np.maximum(np.linalg.norm(sum_nm, axis=1) * np.linalg.norm(goal_m), 1e-12)
        best = np.argsort(-cosine_n)[:BEAM]
        beam = [options[row] for row in best]
        added += [
            {
                "name": "+".join(bank.names[row] for row in options[at]),
                "effect": cosine_n[at],
                "low": np.nan,
                "high": np.nan,
                "evidence": "sum of single effects" if pairs is None else "predicted together",
                "doubts": "chosen among many sums: its cosine is optimistic",
                "support": "supported" if bank.supported_k[list(options[at])].all() else "extrapolation",
                "p": np.nan,
                "q": np.nan,
                "group": 0,
                "size": size,
            }
            for at in best
        ]
    joined = pd.concat([table.drop(columns="rank"), pd.DataFrame(added)])
    joined = joined.sort_values("effect", ascending=False, kind="stable").reset_index(drop=True)
    joined.insert(0, "rank", range(1, len(joined) + 1))
    return joined
