"""Which gene acts on which? By interventions, not by correlation."""

from collections.abc import Sequence

import numpy as np

from vc_model.plan.bank import EffectBank
from vc_model.plan.doubt import FDR, false_discovery_rate, permutation_p
from vc_model.plan.errors import PlanError
from vc_model.plan.figures import ranked_intervals
from vc_model.plan.results import Decision, rank_table

LEAST = 5
N_NULL = 50
MOST_ROWS = 20_000


def network(bank: EffectBank, genes: Sequence[str] | None = None, *, seed: int = 0) -> Decision:
    """Rank directed edges a -> b by the effect of perturbing a on b.

    An effect is taken against what all perturbations do to b, and against the size of what a does to all genes; its
    direction by how much larger it is than the effect of perturbing b on a. The null permutes, for every b, which
    perturbation has which effect.

    Args:
        bank: Effects of single genes, measured or predicted.
        genes: Only edges among these; default: every gene that is perturbed and measured.
        seed: Of the null.

    Raises:
        PlanError: If fewer than five genes are both perturbed and measured.
    """
    column_of = {gene: column for column, gene in enumerate(bank.genes)}
    both = [name for name in bank.names if name in column_of and (genes is None or name in set(genes))]
    if len(both) < LEAST:
        raise PlanError(f"network: {len(both)} genes are both perturbed and measured; at least {LEAST} are needed.")
    row_of = {name: row for row, name in enumerate(bank.names)}
    columns = [column_of[name] for name in both]
    all_km = bank.centred_kg[:, columns]
    unit_m = np.maximum(all_km.std(axis=0), 1e-9)
    z_km = all_km / unit_m
    rows = np.array([row_of[name] for name in both])
    z_mm = z_km[rows].copy()
    np.fill_diagonal(z_mm, 0)
    off = ~np.eye(len(both), dtype=bool)
    rng = np.random.default_rng(seed)
    null = np.concatenate([np.abs(rng.permuted(z_km, axis=0)[rows][off]) for _ in range(N_NULL)])
    # Own effects are set apart: they are no edge, and would make the null wide.
    p_mm = np.ones_like(z_mm)
    p_mm[off] = permutation_p(np.abs(z_mm[off]), null)
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
            "evidence": [f"{x:.1f} forward, {y:.1f} back (standard deviations)" for x, y in zip(forward_n[order], back_n[order], strict=True)],
            "doubts": np.where(q_n > FDR, "may be chance", np.where(back_n > 0.7 * forward_n, "direction not clear", ""))[order],
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
        lambda axes: ranked_intervals(axes, table, "effect of the first gene on the second (standard deviations over perturbations)"),
        "The strongest directed effects.",
        {"effects": bank.source, "genes": len(both), "null draws": N_NULL, "seed": seed},
        ("An effect of one gene on another may pass through others: an edge is an effect, not a contact.",),
        called=called > 0,
    )
