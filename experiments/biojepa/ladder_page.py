"""The page of the ladder, with the published numbers of both versions beside each other."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tyro
from ladder import BESIDE, ROWS
from page import how, paired_table, read, table, verdicts

METRICS = {
    "pearson_delta": ("Pearson delta", 1),
    "mse_delta": ("MSE delta x 1000", 1000),
    "centroid_accuracy": ("centroid acc.", 1),
    "vcc2025/pds": ("PDS", 1),
}
MODELS = [f"biojepa_{row}" for row in ROWS]
PAIRS = (
    ("biojepa_conditions", "biojepa_pairs"),
    ("biojepa_conditions", "mean_effect"),
    ("biojepa_conditions_base", "biojepa_conditions"),
    ("biojepa_conditions_base", "anchored"),
    ("biojepa_conditions_base", "blup"),
    ("anchored", "blup"),
)
INTRODUCTION = """# BioJEPA: what its action stage learns from

Made by `experiments/biojepa/quality.py ladder-page` of what `experiments/biojepa/quality.py ladder` kept. One change at a
time, from the same pretrained encoder on every split:

- `biojepa_pairs`: random pairs of a perturbed and a control cell, as published (with the other repairs of
  `docs/decisions/0004-biojepa-repairs.md`, among them a decoder that learns measured effects).
- `biojepa_conditions`: mean latents over the cells of a condition, and its measured effect through the decoder.
- `biojepa_conditions_base`: the same from `anchored`'s out-of-fold prediction, with a gate chosen on held-out targets. What
  `vc train biojepa` does by default.

All models see the same training conditions and controls and write files that vc-eval scores; intervals are 95 %, resampled by
perturbation. The models are small (preset and updates below): a row says what a change is worth at that size.

As measured in November 2026, at the size of a laptop's test and on one split: what was learnt from conditions alone did not carry over to
held-out targets at all. Its gate, which without a base is a mere shrinkage, came out at 0, so the row is the answer "no change", worse
than pairs and than the mean effect (300 updates see each of 232 conditions many times, and nothing stops it from learning noise).
With `anchored` as its base the gate stayed closed on held-out targets: the answers are `anchored`'s to the digit, never worse and no
better, for two more trainings of time. What the network adds to the Gaussian process is nothing here; where cells say more than
means do is not shown by it.
"""
NOT_RUN = """**No screen has been run to its end yet**, so nothing is said here about what a step is worth. The rows are made by
`experiments/biojepa/quality.py ladder SOURCE KEEP`, which goes on where it was stopped.
"""
PUBLISHED = """## The published runs

As their authors report them, on their own test perturbations; not reproduced here. The test sets of the two versions differ
(1,416 perturbations for v1.0), so a number of one must not be compared with that of the other, nor with the tables above: only
relations inside a column say something, a score over its own additive baseline or over its own chance.

| quantity | v0.6 | v1.0 (1,416 test perturbations) |
|---|---|---|
| parameters: encoder, predictor, composer | 7,979,266, 10,036,224, 1,478,976 | 7,979,650, 2,565,760, 444,224 |
| Pearson of the change | 0.216 | 0.332 |
| nearest centroid is the right one | 0.034 | 0.149 |
| beats no change | 0.9 % | 28.6 % |
| pairs: Pearson of the change | 0.286 | 0.382 |
| the same of additive | 0.781 | 0.770 |
| pairs over its own additive | 0.37 | 0.50 |
| retrieval, mean reciprocal rank: DNA | 0.0005 | 0.0007 |
| retrieval, mean reciprocal rank: chemical | not stated | 0.058 |
| ECE as its authors compute it | 0.572 | 0.323 |
| effective dimension of latents | 45 of 256 | 33 |

Both lose to no change on most perturbations and reach half of what adding the two single effects does on pairs or less.
Chance of the retrieval of a guide among 11,643 is 0.0009: both are at chance for DNA. `--preset v0.6` and `--preset v1.0` have
these parameters to the number (`packages/vc-model/tests/biojepa/test_counts.py`).
"""


@dataclass(frozen=True, kw_only=True)
class LadderPage:
    """Make the page of the ladder of what was kept."""

    keep: tyro.conf.Positional[Path]
    out: tyro.conf.Positional[Path]


def ladder_page(args: LadderPage) -> None:
    """Write the page."""
    runs = sorted(args.keep.glob("ladder-*.json"))
    tables = {path.stem.removeprefix("ladder-"): read(path) for path in runs}
    text = [INTRODUCTION, *(_overview(tables) if tables else [NOT_RUN])]
    for name, found in tables.items():
        text += _section(name, *found)
    args.out.write_text("\n".join([*text, PUBLISHED]))
    print(f"wrote {args.out}")


def _overview(tables: dict[str, tuple[dict, pd.DataFrame, pd.DataFrame]]) -> list[str]:
    """One line a screen: what each step was worth in squared error."""
    text = [
        "Gain in squared error x 1000 of each step (positive: better), with its 95 % interval; bold where it excludes 0.",
        "",
        "| screen | conditions over pairs | conditions over the mean effect | base over conditions | base over anchored |",
        "|---|---|---|---|---|",
    ]
    for name, (_, _, paired) in tables.items():
        own = paired.set_index(["model", "baseline", "metric"])
        cells = []
        for model, other in PAIRS[:4]:
            gain = 1000 * own.loc[(model, other, "mse_delta"), ["difference", "lower", "upper"]].to_numpy(float)
            mark = "**" if gain[1] > 0 or gain[2] < 0 else ""
            cells.append(
                f"{mark}{gain[0]:+.3f}{mark} [{gain[1]:+.3f}, {gain[2]:+.3f}]" if np.isfinite(gain[0]) else "-"
            )
        text.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*text, ""]


def _section(name: str, facts: dict, summary: pd.DataFrame, paired: pd.DataFrame) -> list[str]:
    train, test, genes = facts["sizes"]
    steps = ", ".join(f"{stage} {n}" for stage, n in zip(("pretrain", "ac", "decode"), facts["steps"], strict=True))
    gates = [
        f"split {seed}: " + (", ".join(f"{kind} {gate:g}" for kind, gate in found.items()) or "closed")
        for row, seed, found in facts["gates"]
        if row == "conditions_base"
    ]
    took = ", ".join(
        f"{row} {facts['seconds'][row]:.0f} s ({facts['rates'][row]:.0f} effects a second in the action stage)"
        for row in ROWS
    )
    return [
        f"## {name}",
        "",
        how(facts),
        "",
        f"{facts['splits']} splits; {train} training and {test} held-out conditions of the last one, {genes} genes; preset "
        f"`{facts['preset']}`, updates: {steps}. Action stage and decoder took {took}, hold-outs included, on a machine that "
        "others used at the same time. Gates of `biojepa_conditions_base`: " + "; ".join(gates) + ".",
        "",
        *table(summary, [*MODELS, *BESIDE[::-1], "split_half"], METRICS, {*MODELS, "anchored"}),
        "",
        "Paired gain (positive: the first is better) with its 95 % interval; bold where it excludes 0.",
        "",
        *paired_table(paired[paired["metric"].isin(METRICS)], list(PAIRS)),
        "",
        *verdicts(paired, list(PAIRS[:5])),
        "",
    ]
