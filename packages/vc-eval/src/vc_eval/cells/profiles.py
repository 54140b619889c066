"""Profiles on cells: `full` is cell-eval's full profile, `bio` the BioJEPA suite; neither is a competition rule.

Both rank each side against its own controls as `vcc2025` does and hand the tables and mean profiles to `metrics`.
"""

from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse

from vc_eval.cells.cache import cached_side
from vc_eval.cells.controls import control_pairs, draw_halves, effect_frame
from vc_eval.cells.inputs import read_pair
from vc_eval.cells.ranked import RankedSide, log1p_blocks, read_side
from vc_eval.cells.result import AGGREGATE, PER_PERTURBATION, RuleResult
from vc_eval.cells.settings import Settings
from vc_eval.cells.states import describe_sides, gather
from vc_eval.errors import VcEvalError
from vc_eval.metrics import get_metric

if TYPE_CHECKING:
    import anndata

FULL_OPTIONS = {"edistance": True, "clustering": True}
"""`edistance`: distances between all cells, the slowest part by far; `clustering`: needs igraph, left out without it."""


def score_full(pred: "anndata.AnnData", real: "anndata.AnnData", *, settings: Settings) -> RuleResult:
    """Every metric of cell-eval's full profile, 28 columns; arguments and errors as `vcc2025.score_pair`.

    References:
        docs/metrics.md#full-profile; cell-eval 0.8.2.
    """
    from vc_eval.metrics import clustering, population

    unknown = sorted(set(settings.options) - set(FULL_OPTIONS))
    if unknown:
        raise VcEvalError(f"full: unknown options {unknown!r}; expected some of {sorted(FULL_OPTIONS)!r}.")
    options = FULL_OPTIONS | settings.options
    results, described, left_out, others, effects = [], {}, [], {}, []
    for context, sides, labels in _sides(pred, real, settings):
        predicted, measured = sides
        described[context or "all"] = describe_sides(predicted, measured)
        values = _full_scores(predicted, measured)
        n = len(measured.labels)
        if options["edistance"]:
            distances = [
                _energy(adata, label_n, side, settings)
                for adata, label_n, side in zip((real, pred), labels[::-1], sides[::-1], strict=True)
            ]
            correlation = population.edistance_correlation(*distances)
            values["cell_eval/pearson_edistance"] = np.full(n, correlation)
        if options["clustering"]:
            try:
                agreement = clustering.clustering_agreement(predicted.mean_lg[:-1], measured.mean_lg[:-1])
                values["cell_eval/clustering_agreement"] = np.full(n, agreement)
            except VcEvalError as error:
                left_out.append(f"clustering_agreement: {error}")
        results.append((context, measured.labels, values, {}))
        effects.append(effect_frame(context, measured))
        if settings.controls:
            for name, (prediction, truth) in control_pairs(measured, settings.seed).items():
                row = (context, truth.labels, _full_scores(prediction, truth), {})
                others.setdefault(name, []).append(row)
    version_name = "cell-eval-0.8.2"
    return _result(
        "full",
        version_name,
        results,
        settings,
        others=others,
        effects=effects,
        left_out=sorted(set(left_out)),
        **gather(described),
    )


def _full_scores(predicted: RankedSide, measured: RankedSide) -> dict[str, np.ndarray]:
    """What the full profile says of two ranked sides; without the distances of cells and the clustering."""
    from vc_eval.metrics import full_profile

    tables = full_profile.de_scores(measured.table(), predicted.table())
    means = (predicted.mean_lg[:-1], predicted.mean_lg[-1], measured.mean_lg[:-1], measured.mean_lg[-1])
    return tables | full_profile.profile_scores(*means, _targets(measured))


def score_bio(pred: "anndata.AnnData", real: "anndata.AnnData", *, settings: Settings) -> RuleResult:
    """The BioJEPA suite on mean profiles; arguments and errors as `vcc2025.score_pair`.

    Changes are taken against each side's own controls. Metrics that need a training mean, embeddings, combinations or
    retrieval banks are not among them: their functions are in `vc_eval.metrics`.

    References:
        docs/metrics.md#profile-suite.
    """
    if settings.options:
        raise VcEvalError(f"bio: unknown options {sorted(settings.options)!r}; this profile has none.")
    results, described, others, effects = [], {}, {}, []
    for context, (predicted, measured), _ in _sides(pred, real, settings):
        described[context or "all"] = describe_sides(predicted, measured)
        results.append((context, measured.labels, *_bio_scores(predicted, measured)))
        effects.append(effect_frame(context, measured))
        if settings.controls:
            for name, (prediction, truth) in control_pairs(measured, settings.seed).items():
                others.setdefault(name, []).append((context, truth.labels, *_bio_scores(prediction, truth)))
    return _result("bio", "1", results, settings, others=others, effects=effects, **gather(described))


def _bio_scores(predicted: RankedSide, measured: RankedSide) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    from vc_eval.metrics import suite

    keep_pg = np.ones(measured.twice_u.shape, bool)
    target_p = _targets(measured)
    keep_pg[target_p >= 0, target_p[target_p >= 0]] = False
    inputs = suite.ProfileInputs(
        predicted_pg=predicted.mean_lg[:-1], real_pg=measured.mean_lg[:-1],
        predicted_delta_pg=predicted.mean_lg[:-1] - predicted.mean_lg[-1],
        real_delta_pg=measured.mean_lg[:-1] - measured.mean_lg[-1], control_g=measured.mean_lg[-1], keep_pg=keep_pg,
        q_value_pg=measured.table().q_value_pg, n_cells_p=measured.sizes[:-1].astype(float),
    )  # fmt: skip
    return suite.profile_suite(inputs)


setattr(score_full, "streams", True)  # X may stay in its file  # noqa: B010
setattr(score_bio, "streams", True)  # X may stay in its file  # noqa: B010


def _sides(
    pred: "anndata.AnnData", real: "anndata.AnnData", settings: Settings
) -> Iterator[tuple[str, tuple[RankedSide, RankedSide], tuple[np.ndarray, np.ndarray]]]:
    """Per context: its name, (predicted, measured) sides and (predicted, real) labels."""
    for context, pred_labels, real_labels, genes in read_pair(pred, real, settings):
        half_n = draw_halves(real_labels, settings.seed) if settings.controls else None
        measured = cached_side(real, real_labels, genes, name="real", settings=settings, context=context, half_n=half_n)
        predicted = read_side(pred, pred_labels, genes, name="pred", settings=settings)
        yield context, (predicted, measured), (pred_labels, real_labels)


def _targets(side: RankedSide) -> np.ndarray:
    """`[p]` gene named like the perturbation, -1 for none."""
    position = {gene: g for g, gene in enumerate(side.genes)}
    return np.array([position.get(label, -1) for label in side.labels])


def _energy(adata: "anndata.AnnData", labels_n: np.ndarray, side: RankedSide, settings: Settings) -> np.ndarray:
    """`[p]` energy distances of one side from its own controls, as cell-eval counts them.

    The controls are kept, and as many groups of cells at a time as fit beside them in the memory allowed.
    """
    from vc_eval.metrics import population

    control = _cells_of(adata, labels_n, labels_n == settings.control, settings)
    # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
    cell_bytes = 12 * control.nnz / max(control.shape[0], 1)  # about as many values as in a control cell
    room = max(settings.memory_mb * 2**20 - 12 * control.nnz, settings.memory_mb * 2**18)
    ends = np.cumsum(side.sizes[:-1] * cell_bytes)
    batch_p = (ends // max(room, 1)).astype(int)
    spread = population.mean_distance(control, unbiased=False)
    parts = []
    for batch in np.unique(batch_p):
        labels = [label for label, own in zip(side.labels, batch_p, strict=True) if own == batch]
        wanted = np.isin(labels_n, labels)
        code = {label: p for p, label in enumerate(labels)}
        group_n = np.array([code[label] for label in labels_n[wanted]])
        cells = _cells_of(adata, labels_n, wanted, settings)
        parts.append(
            population.energy_distances(cells, group_n, len(labels), control, unbiased=False, spread_control=spread)
        )
    return np.concatenate(parts)


def _cells_of(
    adata: "anndata.AnnData", labels_n: np.ndarray, wanted: np.ndarray, settings: Settings
) -> scipy.sparse.csr_array:
    blocks = [*log1p_blocks(adata, labels_n, settings=settings, wanted=wanted)]
    return scipy.sparse.csr_array(scipy.sparse.vstack(blocks, format="csr"))


def _result(
    rule: str, rule_version: str, results: list, settings: Settings, *, others: dict | None = None,
    effects: list | None = None, **notes: Any,
) -> RuleResult:  # fmt: skip
    import pandas as pd

    frames, totals = [], []
    for context, labels, values, overall in results:
        for metric, value in values.items():
            reason = get_metric(metric).undefined
            frames.append(
                pd.DataFrame({
                    "context": context, "perturbation": labels, "metric": metric, "value": value, "lower": value,
                    "upper": value, "reason": np.where(np.isnan(value), reason or "undefined", ""),
                })
            )  # fmt: skip
            known = value[~np.isnan(value)]
            mean = float(known.mean()) if known.size else np.nan
            totals.append((context, metric, mean, known.size, value.size - known.size))
        totals += [(context, metric, float(value), len(labels), 0) for metric, value in overall.items()]
    aggregate = pd.DataFrame(totals, columns=list(AGGREGATE))
    if len(results) > 1:
        means = aggregate.groupby("metric", sort=False).agg(
            value=("value", "mean"), n=("n", "sum"), n_undefined=("n_undefined", "sum")
        )
        aggregate = pd.concat([means.reset_index().assign(context="")[list(AGGREGATE)], aggregate], ignore_index=True)
    provenance = {
        "rule": rule, "rule_version": rule_version, "package_version": version("vc-eval"),
        "settings": settings.as_dict(), "control_source": "each side its own", **notes,
    }  # fmt: skip
    per_perturbation = pd.concat(frames, ignore_index=True)[list(PER_PERTURBATION)]
    controls = {name: _result(rule, rule_version, rows, settings) for name, rows in (others or {}).items()}
    return RuleResult(
        per_perturbation=per_perturbation, aggregate=aggregate, provenance=provenance, controls=controls,
        effects=pd.concat(effects, ignore_index=True) if effects else None,
    )  # fmt: skip
