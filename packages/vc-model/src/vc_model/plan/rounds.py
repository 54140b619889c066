"""Rounds of testing with their state on disk: a loop that was killed goes on with the same choices."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import numpy as np

from vc_model.plan.errors import PlanError
from vc_model.plan.library import Library
from vc_model.plan.next import Beliefs, Goal, Strategy, choose, learn, unlearned, with_list
from vc_model.plan.query import Scores

STATE_FNAME = "rounds.json"
LEAST_GAIN = 1.2
"""Expected hits over those of random choice, under which going on is not worth the features."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a campaign is run.

    Attributes:
        goal: What counts as a hit.
        strategy: How batches are chosen.
        batch: Entities in each round.
        budget: Entities in all, those measured before the first round among them; None: the library.
        seed: Of every draw; round r uses (seed, r).
        essentials: Names that are hit in screens of any kind. Strategy `essentials` prefers them; `hits` tests some of
            them in the first batch and learns whether being on the list matters.
    """

    goal: Goal = Goal()  # noqa: RUF009 frozen, so sharing is safe
    strategy: Strategy = "hits"
    batch: int = 96
    budget: int | None = None
    seed: int = 0
    essentials: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Batch:
    """What to test next.

    Attributes:
        number: The round, from 1.
        rows: Rows of the library, in the order of choice.
        beliefs: What they were chosen on.
        waiting: Whether this batch was proposed before and still waits for results.
        stop: Why to stop, or empty.
    """

    number: int
    rows: np.ndarray
    beliefs: Beliefs
    waiting: bool
    stop: str


def next_batch(library: Library, measured: Scores, plan: Plan, dpath: Path | None = None) -> Batch:
    """The next batch, remembered in `dpath` where one is given.

    As long as results of the last batch are missing, that batch is given again. What a round chose depends on the
    library, the plan, the number of the round and the scores, and on nothing else.

    Raises:
        PlanError: If the budget is above the library or spent, or the folder belongs to another plan or library.
    """
    budget = len(library.names) if plan.budget is None else plan.budget
    if budget > len(library.names):
        raise PlanError(f"budget {budget}: the library has {len(library.names)} entities. Give at most so many.")
    given = library
    done = _read(dpath, given, plan)
    tested_e = np.zeros(len(library.names), dtype=bool)
    tested_e[library.rows(measured.names, "measured scores")] = True
    blind = plan.strategy in ("random", "essentials", "kcenter")
    if not blind and plan.essentials:
        library = with_list(library, plan.essentials)
    beliefs = unlearned(library) if blind else learn(library, measured, plan.goal, seed=plan.seed)
    if done:
        rows = library.rows(done[-1], "the last batch")
        if not tested_e[rows].all():
            return Batch(len(done), rows, beliefs, True, "")
    size = min(plan.batch, budget - int(tested_e.sum()))
    if plan.batch < 1:
        raise PlanError(f"batch {plan.batch}: expected at least 1 to test.")
    if tested_e.all():
        raise PlanError(
            f"library: all {len(tested_e)} of it are measured. Give --library with what could be tested next."
        )
    if size <= 0:
        raise PlanError(f"budget {budget}: spent, {int(tested_e.sum())} are measured. Raise it to go on.")
    number = len(done) + 1
    rows = choose(
        library,
        beliefs,
        ~tested_e,
        size,
        plan.strategy,
        seed=_seed(plan, number),
        essentials=plan.essentials,
        tested_e=tested_e,
    )
    if dpath is not None:
        _write(dpath, given, plan, [*done, [library.names[row] for row in rows]])
    return Batch(number, rows, beliefs, False, _reason_to_stop(beliefs, ~tested_e, rows, budget - int(tested_e.sum())))


def replay(library: Library, truth: Scores, plan: Plan, n_rounds: int, *, shuffled: bool = False) -> np.ndarray:
    """[n_rounds] share of all hits found after each round, when a known screen is tested anew from nothing.

    Args:
        library: The entities of the screen.
        truth: Scores and hits of all of them.
        plan: How.
        n_rounds: Rounds.
        shuffled: Give each tested entity the score of a random other one as feedback: what is found then is found by the
            features alone.
    """
    order = library.rows(truth.names, "the screen")
    truth = truth.subset(np.argsort(order))
    rng = np.random.default_rng([plan.seed, 10_007])
    told = truth.subset(rng.permutation(len(truth))) if shuffled else truth
    told = Scores(truth.names, told.score_n, told.hit_n)
    hit_n = cast("np.ndarray", truth.hit_n)
    tested: list[int] = []
    found = []
    for _ in range(n_rounds):
        batch = next_batch(library, told.subset(np.array(tested, dtype=int)), plan_of_round(plan, len(found)))
        tested += batch.rows.tolist()
        found.append(hit_n[tested].sum() / hit_n.sum())
    return np.array(found)


def plan_of_round(plan: Plan, done: int) -> Plan:
    """The plan with a seed for a round without state on disk."""
    return replace(plan, seed=plan.seed * 1000 + done)


def _seed(plan: Plan, number: int) -> int:
    return int(np.random.default_rng([plan.seed, number]).integers(2**31))


def _reason_to_stop(beliefs: Beliefs, open_e: np.ndarray, rows: np.ndarray, left: int) -> str:
    if left <= len(rows):
        return "This batch spends the budget."
    if beliefs.posterior is None:
        return ""
    gain = beliefs.chance_e[rows].mean() / max(float(beliefs.chance_e[open_e].mean()), 1e-12)
    if gain < LEAST_GAIN:
        return f"Hits expected in this batch are {gain:.2f} times those of a random one: what is known no longer helps."
    return ""


def _fingerprint(library: Library, plan: Plan) -> dict[str, Any]:
    digest = sha256("\n".join(library.names).encode())
    digest.update(np.ascontiguousarray(library.features_ed.astype(np.float32)).tobytes())
    settings = asdict(plan) | {"essentials": len(plan.essentials)}
    return {"library": digest.hexdigest()[:16], **{key: settings[key] for key in ("goal", "strategy", "seed")}}


def _read(dpath: Path | None, library: Library, plan: Plan) -> list[list[str]]:
    fpath = None if dpath is None else dpath / STATE_FNAME
    if fpath is None or not fpath.exists():
        return []
    try:
        state = json.loads(fpath.read_text())
        known, rounds = state["plan"], state["rounds"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise PlanError(f"{fpath}: not the state of a campaign ({error}). Give another folder.") from error
    differing = [key for key, value in _fingerprint(library, plan).items() if known.get(key) != value]
    if differing:
        raise PlanError(f"{fpath}: belongs to a campaign with another {', '.join(differing)}. Give another folder.")
    return rounds


def _write(dpath: Path, library: Library, plan: Plan, rounds: Sequence[Sequence[str]]) -> None:
    dpath.mkdir(parents=True, exist_ok=True)
    fpath = dpath / STATE_FNAME
    part = fpath.with_suffix(".part")
    part.write_text(json.dumps({"plan": _fingerprint(library, plan), "rounds": rounds}, indent=1) + "\n")
    part.replace(fpath)
