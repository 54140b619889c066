"""The members of the Virtual Cell Challenge 2026 rule; the arithmetic is in `vc_eval.vcc2026`."""

from vc_eval.metrics.registry import family

VERSION = "cell-eval2-0.20.0 rule 3"
_BULK = "log1p of group-summed counts at 50,000"
_TEST = "tests of counts per million against the real control, genes above 5 in it"


_metric = family(
    prefix="vcc2026/", direction="higher", best=1.0, unit="share of genes", space=_TEST,
    version=VERSION, reference="docs/metrics.md#vcc2026; cell-eval2 0.20.0", excludes_target=True,
)  # fmt: skip

_MEMBERS = (
    _metric("pds_cosine", "Discrimination 2026", "1 - rank/(N - 1) of the own real delta by cosine distance, the targets of "
            "all perturbations left out; ties midrank, no change is at distance 1.", "0.5", unit="share of conditions",
            space=_BULK),
    _metric("expression_error", "Expression error 2026", "Squared error of bulk profiles over the squared effect, both summed "
            "over perturbations less their sampling error; the prediction's is capped by the real one and by its own "
            "spread.", "1 for the control", direction="lower", best=0.0, unit="ratio", space=_BULK, aggregate="derived",
            undefined="no real effect beyond noise"),
    _metric("direction_fidelity", "Direction fidelity 2026", "Called genes with the right sign over the larger of called "
            "and really significant genes.", "0.5 with as many calls", undefined="neither side calls a gene"),
    _metric("direction_reach", "Direction reach 2026", "Deepest share of the really significant genes, in the prediction's "
            "order of confidence, down to which 90 % have the right sign.", "about 1 over the number of genes",
            undefined="no really significant gene"),
    _metric("sig_jaccard", "Jaccard of significant genes 2026", "Genes significant on both sides over those on either; 1 if "
            "there is none.", "not corrected for chance"),
    _metric("lfc_nmae", "Fold change error 2026", "Mean |predicted - real| over mean |real| log2 fold change of really "
            "significant genes.", "1 for no change", direction="lower", best=0.0, unit="ratio",
            undefined="fewer than 10 really significant genes"),
)  # fmt: skip

METRICS = (
    *_MEMBERS,
    *(
        _metric(f"{member.name.partition('/')[2]}_scaled", f"{member.title}, scaled",
                "(value - baseline) / (replicate - baseline): 0 is the mean response, 1 a split-half replicate.", "0",
                unit="scaled", best=float("inf"), aggregate="derived", excludes_target=member.excludes_target)
        for member in _MEMBERS
    ),
    _metric("overall", "Challenge score 2026", "Mean of the six scaled members; 1 is a replicate, more is possible.", "0",
            unit="scaled", best=float("inf"), aggregate="derived"),
    *(
        _metric(name, title, definition, "none", direction=direction, best=best, unit=unit, space=space)
        for name, title, definition, direction, best, unit, space in (
            ("expr_mse_unbiased", "Expression error, unbounded credit", "Squared error per gene less both sampling errors.",
             "lower", 0.0, "squared log1p", _BULK),
            ("expr_mse_unbiased_capped", "Expression error, numerator", "The same with the prediction's sampling error capped "
             "and bounded.", "lower", 0.0, "squared log1p", _BULK),
            ("expr_distance_unbiased", "Effect size", "Squared distance of the real profile from control per gene less "
             "sampling error; a property of the data.", "nearest", 0.0, "squared log1p", _BULK),
            ("expr_real_mass_ratio", "Mass of the real profile", "Sum of expm1 of the real profile over 50,000; near 1 by "
             "construction.", "nearest", 1.0, "ratio", _BULK),
            ("n_significant_real", "Really significant genes", "Number of them; not a score.", "nearest", 0.0, "genes",
             _TEST),
            ("n_significant_predicted", "Called genes", "Number of genes significant in the prediction; not a score.",
             "nearest", 0.0, "genes", _TEST),
        )
    ),
)  # fmt: skip
