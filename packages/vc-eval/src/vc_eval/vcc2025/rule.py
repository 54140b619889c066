"""The Virtual Cell Challenge 2025 rules on cells: `vcc2025` (cell-eval 0.8.2) and `vcc2025-leaderboard` (as of 2025).

Both sides are tested against their own controls, as the rule has it. The leaderboard of 2025 ran cell-eval 0.6.6 with
pdex 0.1.27: one Benjamini-Hochberg over all pairs, and fold changes of zero or infinity replaced by 1/20 and 20.
"""

import dataclasses
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from vc_eval.cells import controls
from vc_eval.cells.controls import effect_frame
from vc_eval.cells.inputs import read_pair
from vc_eval.cells.ranked import RankedSide, read_side
from vc_eval.cells.result import AGGREGATE, PER_PERTURBATION, RuleResult
from vc_eval.cells.settings import Settings
from vc_eval.cells.states import describe_sides, gather
from vc_eval.errors import VcEvalError
from vc_eval.metrics import challenge2025 as vcc
from vc_eval.metrics.custom import CUSTOM, Profiles, custom_scores
from vc_eval.rank import de

if TYPE_CHECKING:
    import anndata
    import pandas as pd

LEADERBOARD = "vcc2025-leaderboard"
VERSIONS = {vcc.RULE: vcc.RULE_VERSION, LEADERBOARD: "cell-eval-0.6.6+pdex-0.1.27"}
CLIP = 20.0  # pdex 0.1.27 writes this for a fold change with a zero below, and its inverse for a zero above
FLOAT32 = 2.0**-24  # relative rounding of one float32 operation


def score_pair(pred: "anndata.AnnData", real: "anndata.AnnData", *, settings: Settings) -> RuleResult:
    """Score predicted cells under `vcc2025`.

    Args:
        pred: Predicted cells with their own controls, `[n, g]`.
        real: Real cells with controls, `[m, g]`.
        settings: See `Settings`.

    Raises:
        VcEvalError: If the two do not hold the same genes and perturbations, or values are of no known scale.

    References:
        docs/metrics.md#vcc2025; cell-eval 0.8.2.
    """
    return _score(pred, real, settings, vcc.RULE)


def score_pair_leaderboard(pred: "anndata.AnnData", real: "anndata.AnnData", *, settings: Settings) -> RuleResult:
    """Score predicted cells as the leaderboard of 2025 did; arguments as `score_pair`.

    References:
        docs/metrics.md#leaderboard; cell-eval 0.6.6 with pdex 0.1.27.
    """
    return _score(pred, real, settings, LEADERBOARD)


setattr(score_pair, "streams", True)  # X may stay in its file  # noqa: B010
setattr(score_pair_leaderboard, "streams", True)  # X may stay in its file  # noqa: B010


def _score(pred: "anndata.AnnData", real: "anndata.AnnData", settings: Settings, rule: str) -> RuleResult:
    import pandas as pd

    from vc_eval.cells.cache import cached_frame, cached_side

    if settings.options:
        raise VcEvalError(f"{rule}: unknown options {sorted(settings.options)!r}; this rule has none.")
    rows, described, others, effects = [], {}, {}, []
    pairs = read_pair(pred, real, settings)
    for context, pred_labels, real_labels, genes in pairs:
        half_n = controls.draw_halves(real_labels, settings.seed) if settings.controls else None
        real_side = cached_side(
            real, real_labels, genes, name="real", settings=settings, context=context, half_n=half_n
        )
        pred_side = read_side(pred, pred_labels, genes, name="pred", settings=settings)
        rows.append(_scored(context, pred_side, real_side, rule))
        if settings.controls:

            def control_tables(context: str = context, real_side: RankedSide = real_side) -> "pd.DataFrame":
                pairs = controls.control_pairs(real_side, settings.seed)
                return pd.concat([_scored(context, *pair, rule).assign(control=name) for name, pair in pairs.items()])

            side_of = (real, real_labels, genes, context, half_n)
            own_settings = dataclasses.replace(settings, cache=None) if CUSTOM else settings  # functions have no key
            for name, table in cached_frame(side_of, own_settings, rule, control_tables).groupby("control", sort=False):
                others.setdefault(name, []).append(table.drop(columns="control"))
        effects.append(effect_frame(context, real_side))
        described[context or "all"] = describe_sides(pred_side, real_side)
    per_perturbation = pd.concat(rows, ignore_index=True)[list(PER_PERTURBATION)]
    provenance = {
        "rule": rule,
        "rule_version": VERSIONS[rule],
        "package_version": version("vc-eval"),
        "settings": settings.as_dict(),
        **gather(described),
        "genes": len(pairs[0][3]),
        "genes_reordered": not np.array_equal(pred.var_names.to_numpy(str), real.var_names.to_numpy(str)),
        "control_source": "each side its own",
        "normalisation": "log1p as given; whole counts scaled to the median total of the side, then log1p",
        "de": "Mann-Whitney U, tie- and continuity-corrected; Benjamini-Hochberg "
        + ("over all pairs" if rule == LEADERBOARD else "per perturbation"),
        "ties": "DES: gene order of the real file; PDS: midrank; lower and upper span all orders and float32 rounding",
    }
    return RuleResult(
        per_perturbation=per_perturbation, aggregate=aggregate(per_perturbation), provenance=provenance,
        controls={name: _control(tables, provenance) for name, tables in others.items()},
        effects=pd.concat(effects, ignore_index=True),
    )  # fmt: skip


def _scored(context: str, pred: RankedSide, real: RankedSide, rule: str) -> "pd.DataFrame":
    own = {k: (v, v, v) for k, v in custom_scores(side_profiles(pred, real)).items()}
    return _rows(context, score_sides(pred, real, rule=rule) | own, real.labels)


def _control(tables: list, provenance: dict) -> RuleResult:
    """A control's tables of all contexts as a result."""
    import pandas as pd

    frame = pd.concat(tables, ignore_index=True)[list(PER_PERTURBATION)]
    kept = {k: provenance[k] for k in ("rule", "rule_version", "package_version", "settings")}
    return RuleResult(per_perturbation=frame, aggregate=aggregate(frame), provenance=kept)


def score_sides(
    pred: RankedSide, real: RankedSide, *, rule: str = vcc.RULE
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """DES, MAE and PDS of one context from two ranked sides: metric -> (value, lower, upper), each `[p]`.

    Args:
        pred: Prediction, same labels and genes as `real`.
        real: Real cells.
        rule: `vcc2025` or `vcc2025-leaderboard`.
    """
    tables = [side_table(side, rule) for side in (real, pred)]
    single = pred.stored_bytes == 4 or real.stored_bytes == 4
    des = vcc.differential_expression_score(tables[0], tables[1], rounding_p=_fold_change_rounding(pred))
    position = {gene: g for g, gene in enumerate(real.genes)}
    target_p = np.array([position.get(label, -1) for label in real.labels])
    pred_delta_pg, real_delta_pg = (side.mean_lg[:-1] - side.mean_lg[-1] for side in (pred, real))
    pds = vcc.perturbation_discrimination_score(
        pred_delta_pg, real_delta_pg, target_p, rounding=1e-6 if single else 1e-12
    )
    mae = vcc.mean_absolute_error(pred.mean_lg[:-1], real.mean_lg[:-1])
    return {
        f"{rule}/des": tuple(des),
        f"{rule}/mae": (mae, mae, mae),
        f"{rule}/pds": (pds.midrank, pds.pessimistic, pds.optimistic),
    }


def side_profiles(pred: RankedSide, real: RankedSide) -> Profiles:
    """Mean profiles and changes of two sides, each against its own control, for metrics of a user's own."""
    keep_pg = np.array(real.labels)[:, None] != real.genes[None, :]
    return Profiles(
        perturbations=real.labels, genes=real.genes, measured_pg=real.mean_lg[:-1], predicted_pg=pred.mean_lg[:-1],
        measured_delta_pg=real.mean_lg[:-1] - real.mean_lg[-1], predicted_delta_pg=pred.mean_lg[:-1] - pred.mean_lg[-1],
        keep_pg=keep_pg,
    )  # fmt: skip


def split_half(real: "anndata.AnnData", *, settings: Settings, rule: str = vcc.RULE) -> RuleResult:
    """One random half of the real cells as the prediction of the other, raw: what noise allows (docs/metrics.md#halves).

    Each label's cells, the control's too, are cut into two disjoint halves of floor(n/2); labels with one cell are left
    out. The cells drawn are those that cell-eval draws with the same seed.

    Args:
        real: Real cells.
        settings: As for `score_pair`; `seed` decides the halves.
        rule: `vcc2025` or `vcc2025-leaderboard`.

    Raises:
        VcEvalError: If the control has a single cell or no perturbation has two.
    """
    import pandas as pd

    rows = []
    for context, _, labels, genes in read_pair(real, real, settings):
        half_n = controls.draw_halves(labels, settings.seed)
        halves = read_side(real, labels, genes, name="real", settings=settings, half_n=half_n).halves
        if halves is None:
            raise VcEvalError("split half: expected two cells of the control and of a perturbation, found fewer.")
        rows.append(_rows(context, score_sides(halves[1], halves[0], rule=rule), halves[0].labels))
    frame = pd.concat(rows, ignore_index=True)[list(PER_PERTURBATION)]
    provenance = {
        "rule": rule,
        "rule_version": VERSIONS[rule],
        "settings": settings.as_dict(),
        "halves": "disjoint, raw",
    }
    return RuleResult(per_perturbation=frame, aggregate=aggregate(frame), provenance=provenance)


def side_table(side: RankedSide, rule: str = vcc.RULE) -> de.DeTable:
    """DE table of one side under a rule."""
    table = side.table()
    if rule == vcc.RULE:
        return table
    mean_pg, control_g = np.expm1(table.mean_pg), np.expm1(table.control_mean_g)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(control_g == 0, CLIP, np.where(mean_pg == 0, 1 / CLIP, mean_pg / control_g))
    q_value_pg = de.benjamini_hochberg(table.p_value_pg.reshape(1, -1)).reshape(table.p_value_pg.shape)
    return dataclasses.replace(table, q_value_pg=q_value_pg, lfc_pg=np.log2(ratio))


def _fold_change_rounding(side: RankedSide) -> np.ndarray:
    """`[p]` what a float32 sum over the cells may add to a log2 fold change; six times a random walk of roundings."""
    if side.stored_bytes == 8:
        return np.full(len(side.labels), 1e-6)  # the ranking itself is in float32
    steps = np.sqrt(side.sizes[:-1]) + np.sqrt(side.sizes[-1]) + 4
    return 6 * steps * FLOAT32 / np.log(2) * np.maximum(1.0, side.mean_log_lg.max())


def _rows(context: str, scores: dict, labels: list[str]) -> "pd.DataFrame":
    import pandas as pd

    frames = [
        pd.DataFrame({
            "context": context, "perturbation": labels, "metric": metric, "value": value, "lower": lower,
            "upper": upper, "reason": "",
        })
        for metric, (value, lower, upper) in scores.items()
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def aggregate(per_perturbation: "pd.DataFrame") -> "pd.DataFrame":
    """Means per context and metric, and over all contexts (mean of their means); NaN propagates, as the rule has it."""
    import pandas as pd

    rows = []
    for metric, part in per_perturbation.groupby("metric", sort=True):
        groups = [(context, group["value"].to_numpy()) for context, group in part.groupby("context", sort=True)]
        missing = int(part["value"].isna().sum())
        overall = float(np.mean([values.mean() for _, values in groups]))
        rows.append(("", metric, overall, len(part), missing))
        rows += [(c, metric, float(v.mean()), v.size, int(np.isnan(v).sum())) for c, v in groups if c]
    return pd.DataFrame(rows, columns=list(AGGREGATE))
