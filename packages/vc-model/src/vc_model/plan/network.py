"""Which gene acts on which? By interventions, not by correlation."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import t

from vc_model.plan.bank import EffectBank
from vc_model.plan.doubt import FDR, false_discovery_rate
from vc_model.plan.errors import PlanError
from vc_model.plan.figures import ranked_intervals
from vc_model.plan.results import Decision, rank_table

LEAST = 5
MOST_ROWS = 20_000


def network(bank: EffectBank, genes: Sequence[str] | None = None) -> Decision:
    """Rank directed edges a -> b by the effect of perturbing a on b.

    An effect is taken against what all perturbations do to b; its
    direction by how much larger it is than the effect of perturbing b on a. The null of b is the bulk of all
    perturbations' effects on it (median and median absolute deviation): a permutation of them would hold the edges too.

    Args:
        bank: Effects of single genes, measured or predicted.
        genes: Only edges among these; default: every gene that is perturbed and measured.

    Raises:
        PlanError: If fewer than five genes are both perturbed and measured.
    """
    column_of = {gene: column for column, gene in enumerate(bank.genes)}
    both = [name for name in bank.names if name in column_of and (genes is None or name in set(genes))]
    if len(both) < LEAST:
        raise PlanError(f"network: {len(both)} genes are both perturbed and measured; at least {LEAST} are needed.")
    row_of = {name: row for row, name in enumerate(bank.names)}
    columns = [column_of[name] for name in both]
    rows = np.array([row_of[name] for name in both])
    all_km = bank.delta_kg[:, columns].astype(np.float64)
    # Own effects are set apart: they are no edge, and would make the null wide.
    own = np.arange(len(both))
    all_km[rows, own] = np.nan
    all_km -= np.nanmedian(all_km, axis=0)
    unit_m = np.maximum(1.4826 * np.nanmedian(np.abs(all_km), axis=0), 1e-9)
    z_mm = np.nan_to_num(all_km / unit_m)[rows]
    off = ~np.eye(len(both), dtype=bool)
    # A median absolute deviation knows a scale as well as a variance of 0.37 as many values does.
    p_mm = 2 * t.sf(np.abs(z_mm), max(3.0, 0.37 * len(all_km)))
    a_n, b_n = np.nonzero(off)
    q_n = false_discovery_rate(p_mm[a_n, b_n])
    forward_n, back_n = np.abs(z_mm[a_n, b_n]), np.abs(z_mm[b_n, a_n])
    order = np.lexsort((-(forward_n - back_n), -forward_n))[:MOST_ROWS]
    sd_n = np.ones(len(a_n)) if bank.sd_kg is None else bank.sd_kg[rows][:, columns][a_n, b_n] / unit_m[b_n]
    names = np.array(both, dtype=object)
    effect_n = z_mm[a_n, b_n]
    supported_n = bank.supported_k[rows][a_n]
    table = rank_table(
        {
            "name": (names[a_n] + " -> " + names[b_n])[order],
            "effect": effect_n[order],
            "low": (effect_n - 1.645 * sd_n)[order],
            "high": (effect_n + 1.645 * sd_n)[order],
            "evidence": [
                f"{x:.1f} forward, {y:.1f} back (standard deviations)"
                for x, y in zip(forward_n[order], back_n[order], strict=True)
            ],
            "doubts": np.where(
                q_n > FDR, "may be chance", np.where(back_n > 0.7 * forward_n, "direction not clear", "")
            )[order],
            "support": np.where(supported_n, "supported", "extrapolation")[order],
            "source": names[a_n][order],
            "target": names[b_n][order],
            "asymmetry": (forward_n - back_n)[order],
            "p": p_mm[a_n, b_n][order],
            "q": q_n[order],
        },
        range(len(order)),
    )
    called = int((q_n <= FDR).sum())
    return Decision(
        "network",
        f"Which of {len(both)} genes acts on which?",
        f"{called} of {len(a_n)} possible edges stand out at a false discovery rate of {FDR:.0%}; first {table.iloc[0]['name']}."
        if called
        else f"No edge stands out at a false discovery rate of {FDR:.0%}.",
        table,
        lambda axes: ranked_intervals(
            axes, table, "effect of the first gene on the second (standard deviations over perturbations)"
        ),
        "The strongest directed effects.",
        {
            "effects": bank.source,
            "genes": len(both),
        },
        ("An effect of one gene on another may pass through others: an edge is an effect, not a contact.",),
        called=called > 0,
    )
