"""The page of the arenas, made of the kept scores."""

from pathlib import Path

import numpy as np
import pandas as pd
from distances import MEASURES
from retrieval import QUESTIONS
from states import MODELS
from vc_eval.stats.differences import KEYS, resampled

FIRST = "anchored, drawn"
SIMULATED = ("states", "world")
SIDES = {"half", FIRST}  # neither is judged against the first


def page(folder: Path) -> str:
    """Every part that has scores."""
    parts = [("cells-*", cells), ("retrieval-*", retrieval)]
    text = []
    for pattern, make in parts:
        fpaths = sorted(folder.glob(f"{pattern}.parquet"))
        if fpaths:
            found = pd.concat([pd.read_parquet(fpath) for fpath in fpaths], ignore_index=True)
            # Worlds name their genes alike; those of two worlds have nothing in common.
            world_n = found["split"].astype(str).radd("world ").add(", ").where(found["screen"].isin(SIMULATED), "")
            text.append(make(found.assign(perturbation=world_n + found["perturbation"])))
    return "\n\n".join(text) + "\n"


def cells(found: pd.DataFrame) -> str:
    """Means, and paired differences from `anchored` with drawn cells."""
    text = [
        "## Cells: distances to the measured cells",
        "",
        *(f"- {name}: {words}." for name, words in MODELS.items()),
        "",
    ]
    for (screen, kind), part in found.groupby(["screen", "kind"], sort=True):
        n = part.groupby(KEYS).ngroups
        text += [f"### {screen}, {kind}: {n} conditions", "", _head(["model", *MEASURES.values()])]
        for model in [name for name in MODELS if name in set(part["model"])]:
            own = part[part["model"] == model].set_index(KEYS)
            text.append(_row([model, *(_estimate(resampled(own[measure])) for measure in MEASURES)]))
        text += ["", "Nearer than `anchored` with drawn cells by (bold: the interval excludes 0):", ""]
        text += [_head(["model", *MEASURES.values()])]
        verdicts = []
        for model in [name for name in MODELS if name in set(part["model"]) - SIDES]:
            row = [model]
            for measure, title in MEASURES.items():
                wide = part.pivot_table(index=KEYS, columns="model", values=measure)[[FIRST, model]].dropna()
                gain = resampled(wide[FIRST] - wide[model])
                verdicts.append((model, title, _verdict(gain)))
                row.append(_estimate(gain, sign=True))
            text.append(_row(row))
        text += ["", *_sentences(verdicts), ""]
    return "\n".join(text).rstrip()


def retrieval(found: pd.DataFrame) -> str:
    """Reciprocal rank and hits, chance beside them, per data set."""
    text = ["## Retrieval: which perturbation was it?", ""]
    text += [f"- {name}: the bank holds {words}." for name, words in QUESTIONS.items()]
    head = [
        "screen",
        "bank",
        "perturbed genes",
        "candidates",
        "reciprocal rank",
        "chance",
        "hit among 10",
        "chance",
        "",
    ]
    text += ["", _head(head)]
    for (screen, question, own), part in found.groupby(["screen", "question", "own"], sort=True):
        part = part.set_index(KEYS)
        n = part["n"].to_numpy()
        chance = float(np.mean([(1 / np.arange(1, one + 1)).sum() / one for one in n]))
        rank, hit = resampled(1 / part["rank"]), resampled((part["rank"] <= 10).astype(float))
        verdict = "above chance" if rank[1] > chance else "below chance" if rank[2] < chance else "level with chance"
        row = [
            screen,
            question,
            "kept" if own else "left out",
            f"{n.min()}-{n.max()}" if n.min() < n.max() else n.min(),
        ]
        row += [_estimate(rank), f"{chance:.3f}", _estimate(hit), f"{np.minimum(10 / n, 1).mean():.3f}", verdict]
        text.append(_row(row))
    return "\n".join(text)


def _sentences(verdicts: list[tuple[str, str, str]]) -> list[str]:
    lines = []
    for model in dict.fromkeys(name for name, _, _ in verdicts):
        own = {
            word: [title for name, title, said in verdicts if (name, said) == (model, word)]
            for word in ("wins", "level", "loses", "one condition says nothing of")
        }
        lines.append(
            f"- {model}: " + "; ".join(f"{word} {', '.join(titles)}" for word, titles in own.items() if titles) + "."
        )
    return lines


def _verdict(gain: tuple[float, float, float]) -> str:
    if np.isnan(gain[1]):
        return "one condition says nothing of"
    return "wins" if gain[1] > 0 else "loses" if gain[2] < 0 else "level"


def _estimate(value: tuple[float, float, float], *, sign: bool = False) -> str:
    plus = "+" if sign else ""
    if np.isnan(value[1]):
        return f"{value[0]:{plus}.3f}"  # one condition has no interval
    mark = "**" if sign and _verdict(value) in ("wins", "loses") else ""
    return f"{mark}{value[0]:{plus}.3f}{mark} [{value[1]:{plus}.3f}, {value[2]:{plus}.3f}]"


def _head(names: list) -> str:
    return _row(names) + "\n" + "|---" * len(names) + "|"


def _row(values: list) -> str:
    return "| " + " | ".join(str(value) for value in values) + " |"
