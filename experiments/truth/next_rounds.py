"""`next` on four real screens, beside controls: share of hits found after each of five rounds, ten seeds."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from truth import features
from vc_model.plan.library import Library
from vc_model.plan.next import Direction, Goal, Strategy
from vc_model.plan.query import Scores
from vc_model.plan.rounds import Plan, replay

ROUNDS = 5


@dataclass(frozen=True)
class Screen:
    """A known screen: its file, what a hit is, entities in a round, and sources that would leak its answer."""

    fname: str
    direction: Direction
    batch: int
    without: tuple[str, ...] = ()


SCREENS = {
    "IFN-gamma": Screen("schmidt2022_tcell_ifng.parquet", "both", 128),
    "IL-2": Screen("schmidt2022_tcell_il2.parquet", "both", 128),
    "tau": Screen("sanchez2021_neuron_tau.parquet", "low", 128),
    # Growth is what this screen measures, so what other growth screens found is left out.
    "choline": Screen("scharenberg2022_choline.parquet", "high", 32, features.FITNESS),
}


@dataclass(frozen=True)
class Arm:
    """One way of choosing: the strategy, whether feedback is permuted, which sources; None: all."""

    strategy: Strategy
    shuffled: bool = False
    only: tuple[str, ...] | None = None


ARMS = {
    "hits (ours)": Arm("hits"),
    "ours, permuted feedback": Arm("hits", shuffled=True),
    "random": Arm("random"),
    "core-essentials": Arm("essentials"),
    "k-center": Arm("kcenter"),
    "ridge on gene sets, mean plus sd": Arm("ucb", only=("go",)),
    "Thompson": Arm("thompson"),
}
SLOW = ("Thompson", "k-center", "ridge on gene sets, mean plus sd")
"""Arms run on one seed."""


def run(cache_fpath: Path, n_seeds: int = 10) -> pd.DataFrame:
    """Every screen, arm and seed; results are kept in a file of lines and not computed twice."""
    done = [json.loads(line) for line in cache_fpath.read_text().splitlines()] if cache_fpath.exists() else []
    keys = {(row["screen"], row["essentials"], row["arm"], row["seed"]) for row in done}
    with cache_fpath.open("a") as fd:
        for seed in range(n_seeds):
            for screen, essentials, arm in _jobs():
                if (screen, essentials, arm, seed) in keys or (arm in SLOW and seed >= 1):
                    continue
                found = one(screen, essentials, ARMS[arm], seed)
                row = {"screen": screen, "essentials": essentials, "arm": arm, "seed": seed, "found": found.tolist()}
                done.append(row)
                fd.write(json.dumps(row) + "\n")
                fd.flush()
    return pd.DataFrame(done)


def _jobs() -> list[tuple[str, str, str]]:
    jobs = [(screen, "in", arm) for arm in ARMS for screen in SCREENS]
    out = ("hits (ours)", "ours, permuted feedback", "random")
    return [*jobs, *((screen, "out", arm) for arm in out for screen in ("IFN-gamma", "IL-2"))]


def one(screen: str, essentials: str, arm: Arm, seed: int) -> np.ndarray:
    """[5] share of all hits found after each round."""
    library, truth = load(screen, essentials)
    if arm.only is not None:
        library = Library(library.names, {name: library.blocks[name] for name in arm.only if name in library.blocks})
    chosen = SCREENS[screen]
    plan = Plan(
        goal=Goal(chosen.direction),
        strategy=arm.strategy,
        batch=chosen.batch,
        seed=seed,
        essentials=tuple(sorted(features.essentials())),
    )
    return replay(library, truth, plan, ROUNDS, shuffled=arm.shuffled)


_LOADED: dict[tuple[str, str], tuple[Library, Scores]] = {}


def load(screen: str, essentials: str) -> tuple[Library, Scores]:
    """A screen and its library, with or without core-essential genes."""
    key = (screen, essentials)
    if key not in _LOADED:
        chosen = SCREENS[screen]
        table = pd.read_parquet(features.SHARED / "screens" / chosen.fname).drop_duplicates("gene")
        if essentials == "out":
            table = table[~table["gene"].isin(features.essentials())]
        truth = Scores(tuple(table["gene"]), table["score"].to_numpy(float), table["hit"].to_numpy(bool))
        _LOADED[key] = features.library(list(truth.names), without=chosen.without), truth
    return _LOADED[key]
