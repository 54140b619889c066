"""How predictions get better with the number of measured perturbations, and where a model pays beside the best baseline.

    uv run python experiments/quality/learning_curve.py simulated:small docs/log --sizes 5 10 30 75

Of every split the training conditions of one cell line are thinned to so many targets (the first of one fixed shuffle, so
larger sets hold the smaller ones); other lines keep theirs. The held-out conditions stay the same. With size 0 the line is
new, which takes another one. Every perturbation of the line that is left out is a sum of singles or a single, as it was.
"""

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from page import number
from scoring import score
from sources import name_of, tables_of
from tqdm import tqdm
from vc_eval.metrics import get_metric
from vc_model.anchored import Anchored, AnchoredConfig
from vc_model.models import fit_models

BASELINES = ["no_change", "mean_effect", "txpert_general", "additive", "lowrank_ridge", "kernel_ridge"]
METRICS = ("pearson_delta", "mse_delta")


def thin(train, line: str, size: int, seed: int):
    """The table with so many targets of one line, all of them if there are fewer."""
    own_p = train.conditions.cell_line == line
    targets = sorted({target for row in np.flatnonzero(own_p) for target in train.conditions.actions[row].targets})
    kept = set(np.random.default_rng(seed).permutation(targets)[:size].tolist())
    inside_p = np.array([kept.issuperset(action.targets) for action in train.conditions.actions])
    return train.subset(~own_p | inside_p)


def run(source: str, args: argparse.Namespace) -> pd.DataFrame:
    """Scores of every size, split and model, averaged over held-out conditions of the line."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for split, (train, test, truths) in enumerate(tqdm(tables_of(source, args, Path(name)), desc="splits")):
            line = args.line or train.trained_lines[0]
            truths = [truth for truth in truths if truth.cell_line == line]
            for size in [*args.sizes, len(train)]:
                table = thin(train, line, size, split)
                if len(table) == 0:
                    continue
                own = int((table.conditions.cell_line == line).sum())
                fitted = fit_models(table, BASELINES)
                fitted["anchored"] = Anchored(AnchoredConfig(seed=split)).fit(table)
                for model, one in fitted.items():
                    mean = score(one.predict(test), test, train.genes, truths)[list(METRICS)].mean()
                    rows.append({"size": size, "conditions": own, "model": model, "split": split, **mean})
    return pd.DataFrame(rows)


def page(source: str, scores: pd.DataFrame, n_splits: int) -> str:
    """The curve as a table."""
    title = name_of(source)
    command = shlex.join(["uv", "run", "python", "experiments/quality/learning_curve.py", *sys.argv[1:]])
    text = [f"# Learning curve on {title}", "", f"`{command}`", ""]
    text += [
        f"Means over held-out conditions of one line and {n_splits} splits. Conditions: of that line, in training.",
        "",
    ]
    for metric, label, scale in (("pearson_delta", "Pearson delta", 1), ("mse_delta", "MSE delta x 1000", 1000)):
        wide = scores.pivot_table(index="size", columns="model", values=metric, aggfunc="mean", dropna=False) * scale
        n_size = scores.groupby("size")["conditions"].mean()
        own = wide.pop("anchored")
        best = wide.min(axis=1) if get_metric(metric).direction == "lower" else wide.max(axis=1)
        text += [
            f"## {label}",
            "",
            "| targets | conditions | anchored | best baseline of each size | " + " | ".join(wide) + " |",
        ]
        text.append("|---" * (wide.shape[1] + 4) + "|")
        for size in wide.index:
            label = "all" if size == wide.index.max() else str(size)
            cells = [number(own[size]), number(best[size]), *(number(value) for value in wide.loc[size])]
            text.append(f"| {label} | {n_size[size]:.0f} | " + " | ".join(cells) + " |")
        text.append("")
    return "\n".join(text)


def main() -> None:
    """Run one screen and write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="an .h5ad with raw counts, or simulated:PRESET[:DIFFICULTY]")
    parser.add_argument("folder", type=Path, help="where the page goes: learning-curve-NAME.md")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 30, 75, 150])
    parser.add_argument("--line", default=None, help="the cell line that is thinned; by default the first")
    parser.add_argument("--splits", type=int, default=2)
    parser.add_argument("--test", type=float, default=0.25)
    parser.add_argument("--min-cells", type=int, default=20)
    parser.add_argument("--world-seed", type=int, default=0)
    parser.set_defaults(recipe="by_perturbation", cell_line=None, genesets=None)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    target = args.folder / f"learning-curve-{name_of(args.source)}.md"
    target.write_text(page(args.source, run(args.source, args), args.splits))
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
