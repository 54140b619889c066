"""The members of the Virtual Cell Challenge 2025 rule; the arithmetic is in `vc_eval.vcc2025.rule`."""

from dataclasses import replace

from vc_eval.metrics.registry import Metric
from vc_eval.vcc2025.rule import RULE_VERSION

_SOURCE = "metrics.md {}; cell-eval 0.8.2"
_RULE = (
    Metric(
        name="vcc2025/des", title="Differential expression score", direction="higher", best=1.0,
        chance="about k/G", unit="share of DE genes",
        definition="Of the k genes that are DE in truth, the share among the k strongest predicted DE genes. Predicted "
        "cells are tested as they are, each side against its own controls; on a split, cells are emitted from predicted "
        "means by one rule for all models and both sides are tested against evaluation controls. Chance is k/G for k DE genes of G called at random, 0 without calls.",
        reference=_SOURCE.format("A3 to A5"), version=RULE_VERSION, headline=True,
    ),
    Metric(
        name="vcc2025/des_lower", title="DES, worst tie order", direction="higher", best=1.0, chance="as DES",
        unit="share of DE genes", definition="Smallest DES over all orders of ties.",
        reference=_SOURCE.format("A5"), version=RULE_VERSION,
    ),
    Metric(
        name="vcc2025/des_upper", title="DES, best tie order", direction="higher", best=1.0, chance="as DES",
        unit="share of DE genes", definition="Largest DES over all orders of ties.",
        reference=_SOURCE.format("A5"), version=RULE_VERSION,
    ),
    Metric(
        name="vcc2025/pds", title="Perturbation discrimination score", direction="higher", best=1.0,
        chance="0.5 + 1/(2N)", unit="share of conditions",
        definition="1 - rank/N of the own measured delta by L1 distance among the N of the cell line; ties midrank.",
        reference=_SOURCE.format("A6"), version=RULE_VERSION, excludes_target=True, headline=True,
        undefined="no other condition in the cell line",
    ),
    *(
        Metric(
            name=f"vcc2025/pds_{bound}", title=f"PDS, {order} tie order", direction="higher", best=1.0, chance="as PDS",
            unit="share of conditions", definition=f"{bound.capitalize()} end of the PDS over all orders of ties.",
            reference=_SOURCE.format("A6"), version=RULE_VERSION, excludes_target=True,
            undefined="no other condition in the cell line",
        )
        for bound, order in (("lower", "worst"), ("upper", "best"))
    ),
    Metric(
        name="vcc2025/mae", title="Mean absolute error", direction="lower", best=0.0, chance="as no_change",
        unit="log1p_cp10k", definition="Mean over genes of |predicted - measured mean expression|.",
        reference=_SOURCE.format("A7"), version=RULE_VERSION, headline=True,
    ),
    Metric(
        name="vcc2025/overall", title="Challenge score", direction="higher", best=1.0, chance="0",
        unit="scaled", definition="Mean of DES, PDS and MAE, each scaled from the cell-eval mean baseline (0) to perfect "
        "(1), clipped at 0.",
        reference=_SOURCE.format("A9, A10"), version=RULE_VERSION, headline=True, aggregate="derived",
    ),
    *(
        Metric(
            name=f"vcc2025/{member}_scaled", title=f"{member.upper()}, scaled", direction="higher", best=1.0,
            chance="0", unit="scaled",
            definition=f"{member.upper()} scaled from the cell-eval mean baseline (0) to perfect (1), clipped at 0.",
            reference=_SOURCE.format("A10"), version=RULE_VERSION, aggregate="derived",
        )
        for member in ("des", "pds", "mae")
    ),
)  # fmt: skip
_LEADERBOARD = tuple(
    replace(
        metric, name=metric.name.replace("vcc2025/", "vcc2025-leaderboard/"), title=f"{metric.title}, leaderboard of 2025",
        definition=f"{metric.definition} One FDR over all pairs; fold changes of zero or infinity are 1/20 and 20.",
        reference="metrics.md A12; cell-eval 0.6.6, pdex 0.1.27", version="cell-eval-0.6.6+pdex-0.1.27", headline=False,
    )
    for metric in _RULE
)  # fmt: skip
METRICS = (
    *_RULE,
    *_LEADERBOARD,
    Metric(
        name="emission/residual", title="Emission residual", direction="lower", best=0.0, chance="none",
        unit="log1p_cp10k",
        definition="Mean over genes of |emitted mean - predicted mean|: what the drawn control cells could not reach.",
        reference="vc_eval.cells.emission",
    ),
)  # fmt: skip
