"""`next` on four real screens, beside controls: share of hits found after each of five rounds, ten seeds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from truth import features, genedisco
from vc_model.plan.library import Library
from vc_model.plan.next import Direction, Goal, Strategy
from vc_model.plan.query import Scores
from vc_model.plan.rounds import Plan, replay

ROUNDS = 5
SEEDS = 10
FEW_SEEDS = 4
"""Seeds of what is slow and hardly differs between them."""
FEWEST_SEEDS = 2
"""Seeds of forests and clusters on 18,000 genes, minutes each on one core."""


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
    """One way of choosing: the strategy, whether feedback is permuted, whether it knows the list of essentials."""

    strategy: Strategy
    shuffled: bool = False
    listed: bool = False


FAR = "k-center (GeneDisco's core-set)"
ARMS = {
    "hits (ours)": Arm("hits"),
    "ours, permuted feedback": Arm("hits", shuffled=True),
    "ours, told the essentials": Arm("hits", listed=True),
    "told the essentials, permuted feedback": Arm("hits", shuffled=True, listed=True),
    "random": Arm("random"),
    "core-essentials": Arm("essentials", listed=True),
    FAR: Arm("kcenter"),
}
FEW = (FAR, "ours, told the essentials", "told the essentials, permuted feedback")
"""Arms with `FEW_SEEDS` seeds."""
OUT = ("hits (ours)", "ours, permuted feedback", "random")
"""Arms that are also run without essential genes in the library."""


def jobs(screen: str, essentials: str) -> Iterator[tuple[str, int, Callable[[], list[dict]]]]:
    """Our strategies and the controls without a model on one screen."""
    for seed in range(SEEDS):
        for arm in ARMS:
            if (essentials == "in" or arm in OUT) and (seed < FEW_SEEDS or arm not in FEW):
                yield (
                    arm,
                    seed,
                    lambda arm=arm, seed=seed: [
                        _row(screen, essentials, arm, seed, one(screen, essentials, ARMS[arm], seed))
                    ],
                )


def learned_jobs(screen: str, essentials: str) -> Iterator[tuple[str, int, Callable[[], list[dict]]]]:
    """The learned baselines on one screen; forests and clusters are slow, so they have fewer seeds."""
    for arm in genedisco.PICKS:
        for seed in range(SEEDS if screen == "choline" else FEW_SEEDS if arm.startswith("ridge") else FEWEST_SEEDS):
            yield (
                arm,
                seed,
                lambda arm=arm, seed=seed: [_row(screen, essentials, arm, seed, _learned(screen, arm, seed))],
            )


def _learned(screen: str, arm: str, seed: int) -> np.ndarray:
    library, truth = load(screen, "in")
    truth = truth.subset(np.argsort(library.rows(truth.names, screen)))
    x_ed = genedisco.ridge_matrix(library) if arm.startswith("ridge") else library.features_ed
    chosen = SCREENS[screen]
    return genedisco.replay(x_ed, truth, Goal(chosen.direction), genedisco.PICKS[arm], chosen.batch, ROUNDS, seed=seed)


def one(screen: str, essentials: str, arm: Arm, seed: int) -> np.ndarray:
    """[5] share of all hits found after each round."""
    library, truth = load(screen, essentials)
    chosen = SCREENS[screen]
    listed = tuple(sorted(features.essentials())) if arm.listed else ()
    plan = Plan(goal=Goal(chosen.direction), strategy=arm.strategy, batch=chosen.batch, seed=seed, essentials=listed)
    return replay(library, truth, plan, ROUNDS, shuffled=arm.shuffled)


def _row(screen: str, essentials: str, arm: str, seed: int, found: np.ndarray) -> dict:
    shares = {f"round {number}": round(float(share), 5) for number, share in enumerate(found, 1)}
    return {"screen": screen, "essentials": essentials, "arm": arm, "seed": seed, **shares}


_LOADED: dict[tuple[str, str], tuple[Library, Scores]] = {}


def load(screen: str, essentials: str) -> tuple[Library, Scores]:
    """A screen and its library, with or without core-essential genes."""
    key = (screen, essentials)
    if key not in _LOADED:
        chosen = SCREENS[screen]
        table = pd.read_parquet(features.SHARED / "screens" / chosen.fname).drop_duplicates("gene")
        # Files are sorted by score, and ties are broken by order somewhere in any method.
        table = table.sample(frac=1, random_state=0)
        if essentials == "out":
            table = table[~table["gene"].isin(features.essentials())]
        truth = Scores(tuple(table["gene"]), table["score"].to_numpy(float), table["hit"].to_numpy(bool))
        _LOADED[key] = features.library(list(truth.names), without=chosen.without), truth
    return _LOADED[key]
