"""The parts of the table of truth, each a list of jobs whose rows make one table."""

import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pandas as pd
from truth import next_rounds, null, pairs, profiles, response, verbs

Rows = list[dict]
Job = tuple[str, Callable[[], Rows]]
"""A name and what makes its rows."""


def rerun(fpath: Path, jobs_of: Callable[[], Iterable[Job]], *, resume: bool) -> None:
    """Run the jobs of a part; rows of finished jobs are kept beside the table until all are done.

    Args:
        fpath: The table to write.
        jobs_of: Gives the jobs.
        resume: Whether to keep the finished jobs of a run that was stopped.
    """
    partial_fpath = fpath.with_suffix(".partial.csv")
    done = pd.read_csv(partial_fpath) if resume and partial_fpath.exists() else pd.DataFrame({"job": []})
    started = time.monotonic()
    for name, run in jobs_of():
        if name in set(done["job"]):
            continue
        done = pd.concat([done, pd.DataFrame(run()).assign(job=name)], ignore_index=True)
        done.to_csv(partial_fpath, index=False)
        print(f"{fpath.stem}: {name}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    done.drop(columns="job").to_csv(fpath, index=False, float_format="%.5g")
    partial_fpath.unlink()


def _next(screen: str, essentials: str, learned: bool) -> Iterable[Job]:
    jobs = next_rounds.learned_jobs if learned else next_rounds.jobs
    for arm, seed, run in jobs(screen, essentials):
        yield f"{arm}, {seed}", run


PARTS: dict[str, Callable[[], Iterable[Job]]] = {
    "next-ifng": partial(_next, "IFN-gamma", "in", False),
    "next-ifng-out": partial(_next, "IFN-gamma", "out", False),
    "next-il2": partial(_next, "IL-2", "in", False),
    "next-il2-out": partial(_next, "IL-2", "out", False),
    "next-tau": partial(_next, "tau", "in", False),
    "next-choline": partial(_next, "choline", "in", False),
    "next-ifng-learned": partial(_next, "IFN-gamma", "in", True),
    "next-il2-learned": partial(_next, "IL-2", "in", True),
    "next-tau-learned": partial(_next, "tau", "in", True),
    "next-choline-learned": partial(_next, "choline", "in", True),
    "lethal": partial(pairs.jobs, "lethal"),
    "lethal-markers": partial(pairs.jobs, "lethal-markers"),
    "combo": partial(pairs.jobs, "combo"),
    "profiles": profiles.jobs,
    "response": response.jobs,
    "worlds": verbs.jobs,
    "null": null.jobs,
}
"""Name -> its jobs."""
