"""The gates that `bench/quality.py` holds a model to, and the tables of all screens.

uv run python bench/quality_gates.py docs/log    # the table of docs/log/quality.md, and that of the README
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tyro

COVERAGE, RANK = 0.05, 0.2  # largest coverage error, smallest correlation of predicted with true error
BEAT_BASELINE, BEAT_NOTHING = 0.5, 0.8  # smallest beat rates
KEYS = ["split", "cell_line", "perturbation"]
SYNERGISTIC = 1 / 3  # of the simulator's pairs, those with the largest true interaction
HEADER = "| gate | verdict | measured |"


@dataclass(frozen=True)
class Names:
    """What the models are called in the scores.

    Attributes:
        model: The model that is judged.
        null: Its run with shuffled labels.
        nameless: The same estimator where nothing tells conditions of one line and number of targets apart.
        half: One half of the cells predicts the other.
        truth: The simulator's true effects.
    """

    model: str
    null: str
    nameless: str
    half: str
    truth: str


@dataclass(frozen=True)
class Verdict:
    """One gate.

    Attributes:
        gate: What is asked.
        passed: Whether it holds; None where the screen cannot tell.
        measured: The numbers.
    """

    gate: str
    passed: bool | None
    measured: str


def best_on_validation(train, conditions, effects: dict[str, Callable]) -> pd.DataFrame:
    """Out-of-fold scores of baselines on training conditions, in the mix of kinds that will be asked.

    Returns:
        One row per baseline with `mse_delta` and `pearson_delta`; nothing of the held-out conditions but their names.
    """
    from vc_model.table.folds import all_folds, known_actions, out_of_fold

    oof = out_of_fold(effects, train, all_folds(train))
    asked = np.bincount(known_actions(train).bins(conditions), minlength=10)
    truth_mg = train.check_pg[oof.row_m]
    size_m = asked[oof.bin_m] / np.maximum(np.bincount(oof.bin_m, minlength=10)[oof.bin_m], 1)
    if size_m.sum() == 0:
        size_m = np.ones(len(truth_mg))
    rows = {}
    for name, delta_mg in oof.delta_mg.items():
        a, b = (part - part.mean(axis=1, keepdims=True) for part in (delta_mg, truth_mg))
        norm_m = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
        r_m = np.divide((a * b).sum(axis=1), norm_m, out=np.zeros(len(a)), where=norm_m > 1e-12)
        error_m = ((delta_mg - truth_mg) ** 2).mean(axis=1)
        rows[name] = {
            "mse_delta": np.average(error_m, weights=size_m),
            "pearson_delta": np.average(r_m, weights=size_m),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def wins(scores: pd.DataFrame, model: str, other: str) -> pd.Series:
    """1 for each held-out condition that the model predicts with a smaller squared error than the other, else 0."""
    wide = (
        scores.groupby([*KEYS, "model"])["mse_delta"].mean().unstack("model").reindex(columns=[model, other]).dropna()
    )
    return (wide[model] < wide[other]).astype(float)


def above_noise(scores: pd.DataFrame) -> pd.Series:
    """1 for each held-out condition whose measured effect is larger than the noise of measuring it, else 0."""
    own = scores[scores["model"] == "no_change"].groupby(KEYS)[["mse_delta", "noise"]].mean().dropna()
    return (own["noise"] < own["mse_delta"]).astype(float)


def judge(
    scores: pd.DataFrame,
    validation: pd.DataFrame,
    names: Names,
    coverage: list[tuple[float, float, float]],
    ranks: list[tuple[float, float, float]],
    compare: Callable,
    resampled: Callable,
    shuffled: bool,
) -> list[Verdict]:
    """All gates of one screen.

    Args:
        scores: One row per held-out condition and model.
        validation: Mean of `best_on_validation` over splits.
        names: What the models are called.
        coverage: Coverage error of the model where intervals are widened by the noise of the held-out cells, and where by
            the noise that is known beforehand (control cells' variance over the number of cells).
        ranks: Correlation of the error with what the model predicts, with that and the planned noise, with that noise; and
            of the error less the noise of the held-out cells with what the model predicts. All with 95 % intervals.
        compare: `quality.compare`.
        resampled: `quality.resampled`.
        shuffled: Whether there was anything to shuffle: two conditions of one line and number of targets.
    """
    model = names.model
    best = {"pearson_delta": validation["pearson_delta"].idxmax(), "mse_delta": validation["mse_delta"].idxmin()}
    verdicts = []
    for metric, label, scale in (("pearson_delta", "Pearson delta", 1), ("mse_delta", "MSE", 1000)):
        gain, lower, upper, n = compare(scores, metric, best[metric], model)
        text = f"against {best[metric]} {_gain(gain, lower, upper, scale)}"
        verdicts.append(Verdict(f"{label} not worse", None if n == 0 else upper >= 0, text))
        for ceiling, called in ((names.half, "half the cells"), (names.truth, "the true effect")):
            *found, n_known = compare(scores, metric, best[metric], ceiling)
            text += f"; {called} {_gain(*found, scale)}" if n_known else ""
        verdicts.append(Verdict(f"{label} better", None if n == 0 else lower > 0, text))
    pairs = scores[scores["perturbation"].str.contains("+", regex=False)]
    groups = [("pairs not worse than additive", pairs)]
    if "synergy" in scores and len(pairs):
        own = pairs[pairs["model"] == model]
        cut = own["synergy"].quantile(1 - SYNERGISTIC)
        groups.append(("synergistic pairs better than additive", pairs[pairs["synergy"] >= cut]))
    for gate, some in groups:
        if not len(some):
            verdicts.append(Verdict(gate, None, "no pairs"))
            continue
        found = {metric: compare(some, metric, "additive", model) for metric in ("pearson_delta", "mse_delta")}
        passed = [lower > 0 if "better" in gate else upper >= 0 for _, lower, upper, _ in found.values()]
        text = f"{found['mse_delta'][3]} held out; Pearson {_gain(*found['pearson_delta'][:3])}, "
        verdicts.append(Verdict(gate, all(passed), text + f"MSE x 1000 {_gain(*found['mse_delta'][:3], 1000)}"))
    rate, text = _rate(wins(scores, model, best["mse_delta"]), resampled)
    verdicts.append(Verdict("beats the best baseline in 50 %", rate >= BEAT_BASELINE, f"{text} of conditions"))
    rate, text = _rate(wins(scores, model, "no_change"), resampled)
    # Neither is a ceiling: half the cells are noisier than a model, and where genes share noise an effect may be real
    # without being larger than its noise. The simulator's true effect is one.
    _, half = _rate(wins(scores, names.half, "no_change"), resampled)
    text += f"; effect larger than its noise {_rate(above_noise(scores), resampled)[1]}, half the cells win {half}"
    if names.truth in set(scores["model"]):
        text += f", the true effect {_rate(wins(scores, names.truth, 'no_change'), resampled)[1]}"
    verdicts.append(Verdict("beats no_change in 80 %", rate >= BEAT_NOTHING, text))
    (error, lower, upper), planned = coverage
    text = f"{error:.3f} [{lower:.3f}, {upper:.3f}]; intervals for planned numbers of cells "
    verdicts.append(
        Verdict("coverage error at most 0.05", error <= COVERAGE, text + "{:.3f} [{:.3f}, {:.3f}]".format(*planned))
    )
    alone, total, planned_noise, less_noise = ranks
    verdicts.append(
        Verdict(
            "predicted error ranks the true one, at least 0.2",
            alone[0] >= RANK if np.isfinite(alone[0]) else None,
            f"{_rank(alone)}; with the noise of measuring the planned numbers of cells {_rank(total)} (that noise alone "
            f"{_rank(planned_noise)}); against the error less the noise {_rank(less_noise)}",
        )
    )
    gain, lower, upper, n = compare(scores, "pearson_delta", names.nameless, names.null)
    own = scores[scores["model"] == names.null].groupby(KEYS)[["pearson_delta", "pearson_other"]].mean().dropna()
    own = own["pearson_delta"] - own["pearson_other"]
    if not shuffled or n == 0 or not len(own):
        verdicts.append(Verdict("null run like nameless conditions", None, "nothing to shuffle or to compare"))
        return verdicts
    known = resampled(own.to_numpy(), own.index)
    text = f"Pearson {_gain(gain, lower, upper)} over nameless conditions, {_gain(*known)} over predictions for others"
    verdicts.append(Verdict("null run like nameless conditions", bool(lower <= 0 and known[1] <= 0), text))
    return verdicts


def _rate(win: pd.Series, resampled: Callable) -> tuple[float, str]:
    """A share of conditions, and the same with its interval."""
    if not len(win):
        return float("nan"), "not known"
    rate, lower, upper = resampled(win.to_numpy(), win.index)
    return rate, f"{rate:.0%} [{lower:.0%}, {upper:.0%}]"


def _rank(rank: tuple[float, float, float]) -> str:
    return "{:.2f} [{:.2f}, {:.2f}]".format(*rank) if np.isfinite(rank[0]) else "not known"


def _gain(gain: float, lower: float, upper: float, scale: float = 1) -> str:
    return f"{gain * scale:+.3f} [{lower * scale:+.3f}, {upper * scale:+.3f}]"


def as_table(verdicts: list[Verdict]) -> list[str]:
    """Lines of the table of one page."""
    name = {True: "pass", False: "**miss**", None: "-"}
    return [HEADER, "|---|---|---|", *(f"| {v.gate} | {name[v.passed]} | {v.measured} |" for v in verdicts)]


def summary(folder: Path) -> str:
    """All pages of the folder beside all gates."""
    rows, gates = {}, []
    for fpath in sorted(folder.glob("quality-*.md")):
        lines = fpath.read_text().splitlines()
        if HEADER not in lines:
            continue
        start = lines.index(HEADER) + 2
        cells = [line.strip("|").split("|") for line in lines[start:] if line.startswith("|")]
        own = {}
        for cell in cells:
            if len(cell) != 3 or cell[1].strip() not in ("pass", "**miss**", "-"):
                break
            own[cell[0].strip()] = cell[1].strip()
        rows[fpath.stem.removeprefix("quality-")] = own
        gates += [gate for gate in own if gate not in gates]
    text = ["| screen | " + " | ".join(gates) + " |", "|---" * (len(gates) + 1) + "|"]
    for name, own in rows.items():
        text.append(f"| [{name}](quality-{name}.md) | " + " | ".join(own.get(gate, "-") for gate in gates) + " |")
    return "\n".join(text) + "\n"


def gains(folder: Path) -> str:
    """What every page says of the model against the best baseline, bold where better clear of 0."""
    text = ["| screen | Pearson of the change | MSE of the change x 1000 |", "|---|---|---|"]
    for fpath in sorted(folder.glob("quality-*.md")):
        cells = []
        for gate in ("Pearson delta better", "MSE better"):
            found = re.search(rf"\| {gate} \| (.*?) \| against (\w+) (\S+) (\[.*?\])", fpath.read_text())
            verdict, baseline, gain, interval = found.groups()
            cells.append(f"{f'**{gain}**' if verdict == 'pass' else gain} {interval} over {baseline}")
        text.append(f"| [{fpath.stem.removeprefix('quality-')}]({fpath}) | {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


def tables(folder: Path) -> None:
    """Print both tables of a folder of pages."""
    print(f"{summary(folder)}\n{gains(folder)}")


if __name__ == "__main__":
    tyro.cli(tables, config=(tyro.conf.PositionalRequiredArgs,))
