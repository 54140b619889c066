"""The pages of the fair table: every model against every other, and one table of what `anchored` gains and where it falls."""

from pathlib import Path

import numpy as np
import pandas as pd
from vc_eval.stats.differences import compare

UNITS = {"pearson_delta": 1, "mse_delta": 1000}
SHOWN = ("txpert_general", "mean_effect", "additive", "blup", "gp")


def page(folder: Path) -> str:
    """Gains of `anchored` and the BLUP over every model, for each screen."""
    text = []
    for fpath in sorted(folder.glob("*.parquet")):
        found = pd.read_parquet(fpath)
        models = list(dict.fromkeys(found["model"]))
        firsts = [name for name in ("anchored", "blup") if name in models]
        text += ["", f"## {fpath.stem}", "", sizes(found, models)]
        head = [f"{first}: {metric}" for first in firsts for metric in UNITS]
        text += ["", "| over | Pearson | MSE x 1000 | " + " | ".join(head) + " |", "|---" * (3 + len(head)) + "|"]
        mean = found.groupby("model")[list(UNITS)].mean()
        for model in models:
            cells = [number(mean.loc[model, metric] * unit) for metric, unit in UNITS.items()]
            cells += [
                "" if first == model else gain(found, metric, model, first) for first in firsts for metric in UNITS
            ]
            text.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(text[1:]) + "\n"


def sizes(found: pd.DataFrame, models: list[str]) -> str:
    """How many splits and conditions."""
    n_splits = found["split"].nunique()
    held = len(found) // len(models) // n_splits
    return f"{n_splits} splits, {found['trained'].min()} training and {held} held-out conditions a split."


def summary(folder: Path) -> str:
    """Three tables: gains over what matters, what is lost to any baseline, and shuffled labels."""
    gains = [
        "| screen (splits, held-out conditions) | over | Pearson of the change | MSE of the change x 1000 |",
        "|---" * 4 + "|",
    ]
    lost = ["| screen | anchored loses beyond its interval to |", "|---|---|"]
    nulls = ["| screen | gains on shuffled labels beyond the interval |", "|---|---|"]
    for fpath in sorted(folder.glob("*.parquet")):
        found = pd.read_parquet(fpath)
        models = [model for model in dict.fromkeys(found["model"]) if model != "anchored"]
        name, baselines = fpath.stem, [model for model in models if model != "gp"]
        if name.endswith("-null"):
            nulls.append(f"| {name.removesuffix('-null')} | {falls(found, baselines, sign=1)} |")
            continue
        n = len(found) // (len(models) + 1)
        for model in SHOWN:
            cells = [gain(found, metric, model, "anchored") for metric in UNITS]
            gains.append(f"| {name} ({found['split'].nunique()}, {n}) | {model} | " + " | ".join(cells) + " |")
        lost.append(f"| {name} | {falls(found, baselines, sign=-1)} |")
    return "\n\n".join("\n".join(table) for table in (gains, lost, nulls)) + "\n"


def falls(found: pd.DataFrame, baselines: list[str], sign: int) -> str:
    """Baselines that `anchored` is clearly behind (sign -1) or clearly ahead of (1), with the metric and the gain."""
    told = []
    for model in baselines:
        for metric, unit in UNITS.items():
            value, lower, upper, n = compare(found, metric, model, "anchored")
            if n and (upper < 0 if sign < 0 else lower > 0):
                told.append(f"{model} ({metric} {value * unit:+.3f} [{lower * unit:+.3f}, {upper * unit:+.3f}])")
    return "; ".join(told) or "nothing"


def gain(found: pd.DataFrame, metric: str, first: str, second: str) -> str:
    """Mean paired gain of the second model over the first, with its interval, in the page's units."""
    value, lower, upper, n = compare(found, metric, first, second)
    return signed(*(x * UNITS[metric] for x in (value, lower, upper)), n)


def number(value: float) -> str:
    """Three decimals, or a dash."""
    return f"{value:.3f}" if np.isfinite(value) else "-"


def signed(gain: float, lower: float, upper: float, n: int) -> str:
    """A gain with its interval; bold where it excludes 0."""
    if n == 0:
        return "-"
    mark = "**" if lower > 0 or upper < 0 else ""
    return f"{mark}{gain:+.3f}{mark} [{lower:+.3f}, {upper:+.3f}]"
