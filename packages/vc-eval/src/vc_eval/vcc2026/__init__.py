"""The Virtual Cell Challenge 2026 rule (docs/metrics.md#vcc2026): six members between the mean response and a replicate.

| member | what it asks | better |
|---|---|---|
| `pds_cosine` | is the predicted change nearest, by direction, to that of its own perturbation? | higher, chance 0.5 |
| `expression_error` | squared error of the profile beyond sampling noise, over the size of the effect | lower, control 1 |
| `direction_fidelity` | of the genes called, or to be called, how many have the right sign? | higher |
| `direction_reach` | how deep is the prediction's own ranking at least 90 % right in sign? | higher |
| `sig_jaccard` | do the called genes agree? | higher |
| `lfc_nmae` | how far off are fold changes of the real significant genes? | lower, no change 1 |

`sides` measures cells, `members` compares two measured sides, `anchors` makes the ends of the scale, `rule` puts them
together, `submission` checks a file before it is sent in.
"""

from vc_eval.vcc2026.anchors import Anchors, compute_anchors
from vc_eval.vcc2026.rule import OPTIONS, RULE, RULE_VERSION, PreparedReal, prepare_real, scaled_scores, score_pair

__all__ = [
    "OPTIONS",
    "RULE",
    "RULE_VERSION",
    "Anchors",
    "PreparedReal",
    "compute_anchors",
    "prepare_real",
    "scaled_scores",
    "score_pair",
]
