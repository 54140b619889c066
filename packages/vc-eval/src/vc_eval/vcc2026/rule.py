"""Score cells under the 2026 rule: six members per context, scaled between two anchors, and their mean.

The prediction is raw counts and needs no control cells; any it holds are left out, because both sides are measured
against the real control. Contexts are scored one by one; the overall number is the mean over contexts.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from vc_eval.cells.controls import shuffle
from vc_eval.cells.result import AGGREGATE, PER_PERTURBATION, RuleResult
from vc_eval.cells.rows import RowMatrix
from vc_eval.cells.settings import Settings
from vc_eval.errors import VcEvalError
from vc_eval.roles import MEAN_EFFECT, NO_CHANGE, SHUFFLED, SPLIT_HALF
from vc_eval.vcc2026 import members
from vc_eval.vcc2026.anchors import (
    LOWER,
    MEMBERS,
    Anchors,
    compute_anchors,
    mean,
    measure_baseline,
    measure_halves,
    split_seeds,
)
from vc_eval.vcc2026.counts import Counts
from vc_eval.vcc2026.sides import MeasuredSide, RealSide, labels_of, measure_prediction, measure_real

if TYPE_CHECKING:
    import anndata

RULE = "vcc2026"
RULE_VERSION = "3 (cell-eval2 0.20.0)"
FLOOR = {"expression_error": 0.0, "lfc_nmae": -6.0}
CEILING = {"expression_error": 1.0}
OPTIONS = {
    "anchors": "none",
    "target_genes": None,
    "emission": "dispersed",
    "n_splits": 5,
    "fractional": False,
}
"""`anchors`: "none" (raw values only), "compute" (from the real cells), or per context an `Anchors` or its dict;
`target_genes`: label -> gene or None, "*" for every other label; `emission`: of the baseline; `n_splits`: of the
replicate; `fractional`: accept predicted counts that are not whole numbers."""

_REASONS = {
    "direction_fidelity": "neither side calls a gene",
    "direction_reach": "no real significant gene",
    "lfc_nmae": f"fewer than {members.MIN_GENES} real significant genes",
    "expr_mse_unbiased": "no gene besides the target",
    "expr_mse_unbiased_capped": "no gene besides the target",
    "expr_distance_unbiased": "no gene besides the target",
}


@dataclass(frozen=True, kw_only=True)
class RealContext:
    """One context of the real data, measured, with its anchors if they were asked for."""

    side: RealSide
    anchors: Anchors | None
    controls: dict[str, tuple[MeasuredSide, RealSide]] = field(default_factory=dict)
    """Name -> (prediction, truth) of what a table holds beside a prediction, if it was asked for."""


@dataclass(frozen=True, kw_only=True)
class PreparedReal:
    """The real data measured once, to score any number of predictions; picklable."""

    contexts: dict[str, RealContext]
    settings: Settings


def prepare_real(real: "anndata.AnnData", *, settings: Settings | None = None) -> PreparedReal:
    """Measure the real cells, and with option `anchors="compute"` both anchors, for use in `score_pair`.

    Args:
        real: Raw counts `[n, g]` of perturbed and control cells.
        settings: Columns, control label, seed and the options of `OPTIONS`.

    Raises:
        VcEvalError: If the cells are not raw counts, labels are missing, or an option is unknown.
    """
    settings = settings or Settings()
    options = _options(settings)
    genes = real.var_names.to_numpy(str)
    counts = _counts(real, settings, "real cells", options)
    contexts: dict[str, RealContext] = {}
    for context, label_n, labels in _by_context(real, settings, "real cells"):
        here = replace(counts, name=f"real cells{f' of {context}' if context else ''}")
        side = measure_real(here, label_n, genes, control=settings.control, target_genes=options["target_genes"])
        anchors = _given_anchors(options["anchors"], context)
        controls: dict[str, tuple[MeasuredSide, RealSide]] = {}
        if options["anchors"] == "compute":
            anchors = compute_anchors(
                here, labels, genes, side, control=settings.control, target_genes=options["target_genes"],
                emission=options["emission"], seed=settings.seed, n_splits=options["n_splits"], keep=controls,
            )  # fmt: skip
        elif settings.controls:
            controls = _measured_controls(here, label_n, labels, genes, side, settings, options)
        controls = _free_controls(side, settings.seed) | controls if settings.controls else {}
        contexts[context] = RealContext(side=side, anchors=anchors, controls=controls)
    return PreparedReal(contexts=contexts, settings=settings)


def _measured_controls(
    counts: Counts, label_n: np.ndarray, labels: pd.Series, genes: np.ndarray, side: RealSide, settings: Settings,
    options: dict[str, Any],
) -> dict[str, tuple[MeasuredSide, RealSide]]:  # fmt: skip
    """Mean response and one pair of halves, as the anchors have them; left out where the data do not allow them."""
    controls = {}
    with contextlib.suppress(VcEvalError):  # a gene that every perturbation targets
        baseline = measure_baseline(
            counts, label_n, side, control=settings.control, emission=options["emission"], seed=settings.seed
        )
        controls[MEAN_EFFECT] = (baseline, side)
    with contextlib.suppress(VcEvalError):  # labels of a single cell
        seed = split_seeds(settings.seed, 1)[0]
        controls[SPLIT_HALF] = measure_halves(
            counts, labels, genes, side, settings.control, options["target_genes"], seed
        )
    return controls


def _free_controls(real: RealSide, seed: int) -> dict[str, tuple[MeasuredSide, RealSide]]:
    """Controls that follow from the measured side: control cells as every prediction, and labels exchanged."""
    names = [f.name for f in fields(MeasuredSide)]
    plain = MeasuredSide(**{name: getattr(real, name) for name in names})
    n_p = len(real.perturbations)
    untested = np.isnan(real.p_value_pg)
    none = np.where(untested, np.nan, 1.0)
    quiet = replace(
        plain, bulk_pg=np.repeat(real.origin_g[None], n_p, axis=0), jackknife_p=np.full(n_p, real.control_jackknife),
        p_value_pg=none, q_value_pg=none, lfc_pg=np.where(untested, np.nan, 0.0),
    )  # fmt: skip
    controls = {NO_CHANGE: (quiet, real)}
    if n_p > 1:
        other = shuffle(n_p, seed)
        moved = ("bulk_pg", "jackknife_p", "p_value_pg", "q_value_pg", "lfc_pg")
        controls[SHUFFLED] = (replace(plain, **{name: getattr(real, name)[other] for name in moved}), real)
    return controls


def score_pair(
    pred: "anndata.AnnData", real: "anndata.AnnData | PreparedReal", *, settings: Settings | None = None
) -> RuleResult:
    """Score predicted counts against real ones under the rule of the 2026 Virtual Cell Challenge.

    Equal to cell-eval2 0.20.0 on CPU (preset vcc2026, pdex) in all six members. With anchors, `vcc2026/<member>_scaled`
    is (value - baseline) / (replicate - baseline) and `vcc2026/overall` their mean; 1 is a replicate, not a ceiling.

    Args:
        pred: Raw counts `[n, g]` of every perturbation of the real data; genes as in the real data, in any order.
        real: Raw counts `[m, g]` with controls, or `prepare_real` of them.
        settings: Columns, control label and the options of `OPTIONS`; ignored columns of a prepared real side follow
            the settings it was prepared with.

    Raises:
        VcEvalError: If the sides do not fit together or are not raw counts.

    References:
        docs/metrics.md#vcc2026.
    """
    if not isinstance(real, PreparedReal):
        real = prepare_real(real, settings=settings)
    settings = settings or real.settings
    options = _options(settings)
    predictions = {context: label_n for context, label_n, _ in _by_context(pred, settings, "prediction")}
    if set(predictions) != set(real.contexts):
        raise VcEvalError(
            f"prediction: contexts are {', '.join(sorted(predictions))}, those of the real data "
            f"{', '.join(sorted(real.contexts))}; expected the same."
        )
    first = next(iter(real.contexts.values())).side
    counts = _aligned(_counts(pred, settings, "prediction", options), pred, first)
    rows, totals, notes, effects = [], [], {}, []
    others: dict[str, tuple[list, list]] = {}
    for context, known in real.contexts.items():
        side = _predicted_side(counts, predictions[context], context, known.side, settings)
        table, aggregates = _score_context(side, known.side)
        rows.append(table.assign(context=context))
        anchors = known.anchors or _given_anchors(options["anchors"], context)
        if anchors is not None:
            aggregates |= scaled_scores({name: aggregates[f"vcc2026/{name}"][0] for name in MEMBERS}, anchors)
        totals += [(context, name, *entry) for name, entry in aggregates.items()]
        for name, (prediction, truth) in known.controls.items():
            frame, entries = _score_context(prediction, truth)
            if anchors is not None:
                entries |= scaled_scores({member: entries[f"vcc2026/{member}"][0] for member in MEMBERS}, anchors)
            frames, sums = others.setdefault(name, ([], []))
            frames.append(frame.assign(context=context))
            sums += [(context, metric, *entry) for metric, entry in entries.items()]
        effects.append(_effects(context, known.side))
        notes[context] = _notes(known.side, members.expression_terms(side, known.side).credit, anchors)
    provenance = {
        "rule": RULE,
        "rule_version": RULE_VERSION,
        "package_version": version("vc-eval"),
        "settings": settings.as_dict() | {"options": {k: v for k, v in options.items() if k != "anchors"}},
        "control_source": "real control on both sides; predicted controls are left out",
        "space": "log1p of group-summed counts at 50,000 (expression, discrimination); counts per million (tests)",
        "normalisation": "none applied to the input: raw counts are required",
        "tests": "Mann-Whitney U, tie- and continuity-corrected; Benjamini-Hochberg per perturbation over genes "
        "above 5 counts per million in the real control; q < 0.05",
        "ties": "midrank in discrimination; p value, |log2 fold change|, gene name in reach",
        "contexts": notes,
    }
    controls = {name: _result(frames, sums, provenance | {"contexts": {}}) for name, (frames, sums) in others.items()}
    return replace(_result(rows, totals, provenance), controls=controls, effects=pd.concat(effects, ignore_index=True))


def _result(frames: list[pd.DataFrame], totals: list[tuple], provenance: dict[str, Any]) -> RuleResult:
    """Tables of all contexts as a result, with the means over contexts where there are several."""
    aggregate = pd.DataFrame(totals, columns=list(AGGREGATE))
    if aggregate["context"].nunique() > 1:
        aggregate = pd.concat([_overall(aggregate), aggregate], ignore_index=True)
    frame = pd.concat(frames, ignore_index=True)[list(PER_PERTURBATION)]
    return RuleResult(per_perturbation=frame, aggregate=aggregate, provenance=provenance)


def _effects(context: str, real: RealSide) -> pd.DataFrame:
    """Strength of every perturbation, as for the rules of 2025 (`controls.effect_sizes`)."""
    norm_p = np.linalg.norm(real.bulk_pg - real.origin_g, axis=1)
    sizes = members.significant(real, real).sum(axis=1) + norm_p / (1 + norm_p)
    return pd.DataFrame({"context": context, "perturbation": list(real.perturbations), "size": sizes})


setattr(score_pair, "streams", True)  # X may stay in its file  # noqa: B010


def scaled_scores(values: Mapping[str, float], anchors: Anchors) -> dict[str, tuple[float, int, int]]:
    """Scaled score of every member and their mean, as aggregate entries.

    A member without a value scores what its worst legal value scores: 0 for the four that grow, the floor for errors.

    Raises:
        VcEvalError: If a baseline is not strictly worse than its replicate: the scale would be undefined or inverted.
    """
    scores = {}
    for name in MEMBERS:
        b, r = anchors.baseline[name], anchors.replicate[name]
        if not (np.isfinite([b, r]).all() and (b > r if name in LOWER else b < r)):
            raise VcEvalError(
                f"anchors: baseline {b:g} of {name} is not worse than the replicate {r:g}, so there is no scale. "
                "These real data cannot be scored by this rule; read the raw values."
            )
        value = values[name]
        if not np.isfinite(value):
            scores[name] = FLOOR[name] if name in LOWER else (0.0 - b) / (r - b)
        else:
            score = (value - b) / (r - b)
            scores[name] = float(np.clip(score, FLOOR.get(name, -np.inf), CEILING.get(name, np.inf)))
    entries = {f"vcc2026/{name}_scaled": (score, 1, 0) for name, score in scores.items()}
    return entries | {"vcc2026/overall": (float(np.mean(list(scores.values()))), len(MEMBERS), 0)}


def _score_context(side: MeasuredSide, real: RealSide) -> tuple[pd.DataFrame, dict[str, tuple[float, int, int]]]:
    terms = members.expression_terms(side, real)
    values = {
        "pds_cosine": members.pds_cosine(side, real),
        "direction_fidelity": members.direction_fidelity(side, real),
        "direction_reach": members.direction_reach(side, real),
        "sig_jaccard": members.sig_jaccard(side, real),
        "lfc_nmae": members.lfc_nmae(side.lfc_pg, real),
        "expr_mse_unbiased": terms.unbiased_p,
        "expr_mse_unbiased_capped": terms.capped_p,
        "expr_distance_unbiased": terms.distance_p,
        "expr_real_mass_ratio": terms.mass_ratio_p,
        "n_significant_real": members.significant(real, real).sum(axis=1).astype(float),
        "n_significant_predicted": members.significant(side, real).sum(axis=1).astype(float),
    }
    tables = []
    aggregates: dict[str, tuple[float, int, int]] = {}
    for name, value_p in values.items():
        undefined = np.isnan(value_p)
        tables.append(
            pd.DataFrame(
                {
                    "perturbation": real.perturbations,
                    "metric": f"vcc2026/{name}",
                    "value": value_p,
                    "lower": value_p,
                    "upper": value_p,
                    "reason": np.where(undefined, _REASONS.get(name, "undefined"), ""),
                }
            )
        )
        aggregates[f"vcc2026/{name}"] = (mean(value_p), int((~undefined).sum()), int(undefined.sum()))
    used = np.isfinite(terms.capped_p) & np.isfinite(terms.distance_p)
    ratio = (members.expression_ratio(terms), int(used.sum()), int((~used).sum()))
    ordered = {f"vcc2026/{name}": aggregates.get(f"vcc2026/{name}", ratio) for name in MEMBERS}
    return pd.concat(tables, ignore_index=True), ordered | aggregates


def _counts(adata: "anndata.AnnData", settings: Settings, name: str, options: dict[str, Any]) -> Counts:
    return Counts(
        rows=RowMatrix(adata, settings.memory_mb), name=name, cell_names=adata.obs_names.to_numpy(), gene_names=adata.var_names.to_numpy(),
        fractional=name == "prediction" and options["fractional"], memory_mb=settings.memory_mb,
        n_threads=settings.n_threads, progress=settings.progress,
    )  # fmt: skip


def _aligned(counts: Counts, pred: "anndata.AnnData", real: RealSide) -> Counts:
    """Predicted counts in the gene order of the real side.

    Raises:
        VcEvalError: If genes differ.
    """
    genes = pred.var_names.to_numpy(str)
    if np.array_equal(genes, real.genes):
        return counts
    missing, extra = np.setdiff1d(real.genes, genes), np.setdiff1d(genes, real.genes)
    if missing.size or extra.size or genes.size != real.genes.size:
        raise VcEvalError(
            f"prediction: {missing.size} genes are missing (first: {', '.join(missing[:3]) or 'none'}), {extra.size} "
            f"are not in the real data (first: {', '.join(extra[:3]) or 'none'}); expected its gene list."
        )
    return replace(counts, column_g=pred.var_names.get_indexer(pd.Index(real.genes)), gene_names=real.genes)


def _predicted_side(
    counts: Counts, label_n: np.ndarray, context: str, real: RealSide, settings: Settings
) -> MeasuredSide:
    name = f"prediction{f' of {context}' if context else ''}"
    stray = sorted(set(label_n.tolist()) - set(real.perturbations) - {settings.control, ""})
    if stray:
        raise VcEvalError(
            f"{name}: {len(stray)} perturbations are not in the real data (first: {', '.join(stray[:5])}); expected "
            "those of the real data only."
        )
    return measure_prediction(replace(counts, name=name), label_n, real)


def _by_context(adata: "anndata.AnnData", settings: Settings, name: str) -> list[tuple[str, np.ndarray, pd.Series]]:
    """(context, labels with "" for cells of others, label column with those missing) in name order; one context is ""."""
    label_n = labels_of(adata, settings.pert_col, name)
    labels = adata.obs[settings.pert_col]
    if settings.context_col is None:
        return [("", label_n, labels)]
    contexts = labels_of(adata, settings.context_col, name)
    return [
        (c, np.where(contexts == c, label_n, ""), labels.where(contexts == c)) for c in np.unique(contexts).tolist()
    ]


def _options(settings: Settings) -> dict[str, Any]:
    unknown = sorted(set(settings.options) - set(OPTIONS))
    if unknown:
        raise VcEvalError(f"{RULE}: unknown options {', '.join(unknown)}; expected some of {', '.join(OPTIONS)}.")
    return OPTIONS | settings.options


def _given_anchors(given: Any, context: str) -> Anchors | None:
    if isinstance(given, str):
        if given not in ("none", "compute"):
            raise VcEvalError(
                f"{RULE}: option anchors must be 'none', 'compute' or anchors by context, found {given!r}."
            )
        return None
    if isinstance(given, Anchors):
        return given
    if isinstance(given, Mapping) and context in given:
        anchors = given[context]
        return anchors if isinstance(anchors, Anchors) else Anchors(**dict(anchors))
    raise VcEvalError(f"{RULE}: no anchors were given for context {context!r}.")


def _overall(aggregate: pd.DataFrame) -> pd.DataFrame:
    """Means over contexts; a context without a value is left out of raw members and counted."""
    rows = []
    for name, part in aggregate.groupby("metric", sort=False):
        rows.append(("", name, mean(part["value"].to_numpy()), part["n"].sum(), part["n_undefined"].sum()))
    return pd.DataFrame(rows, columns=list(AGGREGATE))


def _notes(real: RealSide, credit: float, anchors: Anchors | None) -> dict[str, Any]:
    return {
        "perturbations": len(real.perturbations),
        "genes": int(real.genes.size),
        "genes_tested": int(real.tested_g.sum()),
        "targets_excluded": int((real.target_p >= 0).sum()),
        "sampling_credit": credit,
        "anchors": anchors.as_dict() if anchors else None,
    }
