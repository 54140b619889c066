"""`next` as an answer: the batch, why each entity is in it, and whether to go on."""

from pathlib import Path

import numpy as np

from vc_model.plan.figures import cloud
from vc_model.plan.library import Library
from vc_model.plan.query import Scores
from vc_model.plan.results import Decision, rank_table
from vc_model.plan.rounds import Batch, Plan, next_batch


def propose(library: Library, measured: Scores, plan: Plan, dpath: Path | None = None) -> Decision:
    """What to test next; see `vc_model.plan.rounds.next_batch`."""
    batch = next_batch(library, measured, plan, dpath)
    beliefs, rows = batch.beliefs, batch.rows
    names = np.array(library.names)
    z90 = 1.645
    known = library.known_e[rows]
    table = rank_table(
        {
            "name": names[rows],
            "effect": beliefs.mean_e[rows],
            "low": beliefs.mean_e[rows] - z90 * beliefs.sd_e[rows],
            "high": beliefs.mean_e[rows] + z90 * beliefs.sd_e[rows],
            "evidence": [_evidence(library, measured, row, beliefs.posterior is not None) for row in rows],
            "doubts": np.where(known, "", "no features: believed to be like the average"),
            "support": np.where(known, "supported", "extrapolation"),
            "chance_of_hit": beliefs.chance_e[rows],
            "round": batch.number,
        },
        range(len(rows)),
    )
    open_e = ~np.isin(names, measured.names)
    open_e[rows] = True
    doubts = _doubts(library, measured, batch, plan)

    def draw(axes) -> None:
        mark = np.searchsorted(np.flatnonzero(open_e), rows)
        labels = ("expected score (robust standard deviations)", "chance of a hit")
        cloud(axes, beliefs.mean_e[open_e], beliefs.chance_e[open_e], mark.tolist(), names[open_e].tolist(), labels)

    expected = beliefs.chance_e[rows].sum()
    again = " This batch was proposed before and waits for results." if batch.waiting else ""
    return Decision(
        "next",
        f"Which {len(rows)} of {int(open_e.sum())} untested to measure next?",
        f"Round {batch.number}: {len(rows)} entities, {expected:.1f} hits expected against "
        f"{beliefs.chance_e[open_e].mean() * len(rows):.1f} at random.{again} {batch.stop}".strip(),
        table,
        draw,
        "Every untested entity by expected score and chance of a hit; the batch is marked.",
        {
            "strategy": plan.strategy,
            "measured so far": len(measured),
            "threshold of a hit (robust standard deviations)": round(beliefs.threshold, 3),
            "left-out correlation and p": f"{beliefs.signal[0]:.3f}, {beliefs.signal[1]:.2g}",
            "features": ", ".join(library.blocks) or "none",
            "seed": plan.seed,
        },
        doubts,
        called=not batch.stop.startswith("Hits expected"),
    )


def _evidence(library: Library, measured: Scores, row: int, learned: bool) -> str:
    """The measured entity that is most alike, and how much."""
    if not learned:
        return "chosen for what it teaches"
    x_ed = library.features_ed
    rows = library.rows(measured.names, "measured scores")
    length = np.linalg.norm(x_ed[rows], axis=1) * np.linalg.norm(x_ed[row])
    if not length.any():
        return "none"
    alike_n = x_ed[rows] @ x_ed[row] / np.maximum(length, 1e-12)
    best = int(alike_n.argmax())
    return f"most like {measured.names[best]} (cosine {alike_n[best]:.2f}, measured {measured.score_n[best]:.3g})"


def _doubts(library: Library, measured: Scores, batch: Batch, plan: Plan) -> tuple[str, ...]:
    doubts = []
    if batch.beliefs.posterior is None and plan.strategy not in ("random", "essentials", "kcenter"):
        doubts.append(
            f"Only {len(measured)} are measured: nothing was learned yet, the batch is chosen for what it teaches."
        )
    elif batch.beliefs.signal[1] > 0.05 and batch.beliefs.posterior is not None:
        doubts.append(
            "Features do not predict the measured scores better than chance: expect no more hits than at random."
        )
    if library.known_e.mean() < 0.5:
        doubts.append(f"Features know {library.known_e.mean():.0%} of the library; the rest is believed to be average.")
    return tuple(doubts)
