"""The command: every model through every hold-out, and what that says of the real entry."""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vc_contracts.command import print_json
from vc_contracts.progress import progress

from vc_apps.outputs import RUN_FNAME, AppError, check_out, run_folder, write_json
from vc_apps.rehearse.expect import LEVEL, Expectation, expect
from vc_apps.rehearse.holdouts import hold_out
from vc_apps.rehearse.play import HeldOutCells, predict
from vc_apps.submit.settings import Rehearse

if TYPE_CHECKING:
    from vc_apps.submit.score import LocalScore


def rehearse(command: Rehearse) -> None:
    """`vc rehearse`.

    Raises:
        AppError: If a setting is refused.
    """
    check_out(command, "run")
    _check(command)
    if command.dry_run:
        models = ", ".join(command.models)
        print(f"would hold out {command.test:.0%} of the perturbations {command.repeats} times, play {models} through each "
              f"under {command.rule}, and write {command.out}/")  # fmt: skip
        return
    with run_folder(command.out, overwrite=command.overwrite) as folder:
        splits = [
            hold_out(
                command.screen,
                folder / f"split-{at}.json",
                kind=command.holdout,
                test=command.test,
                seed=command.seed + at,
            )
            for at in range(command.repeats)
        ]
        scores, seconds, tuned = _play_all(command, splits)
        expected = {name: _expect(found, command.rule) for name, found in scores.items()}
        write_json(folder / RUN_FNAME, _as_json(command, scores, expected, seconds, tuned))
        (folder / "rehearsal.md").write_text(make_page(command, scores, expected, seconds, tuned))
    if command.json:
        print_json({name: dataclasses.asdict(one) for name, one in expected.items()})
        return
    print(make_table(command, scores, expected))
    for line in _tuned_lines(tuned):
        print(line)
    print(
        f"wrote {command.out}: rehearsal.md, run.json and {len(splits)} splits. Next: vc submit with the model that you choose."
    )


def _check(command: Rehearse) -> None:
    if command.repeats < 1:
        raise AppError(f"--repeats {command.repeats}: expected 1 or more.")
    if not 0 < command.test < 1:
        raise AppError(f"--test {command.test}: expected a share between 0 and 1.")
    from vc_model.models import MODELS

    unknown = [name for name in command.models if name not in (*MODELS, "st")]
    if unknown or not command.models:
        raise AppError(f"--models: expected some of {[*MODELS, 'st']}, found {unknown or 'none'}.")


def _play_all(
    command: Rehearse, splits: list[Path]
) -> tuple[dict[str, list["LocalScore"]], dict[str, float], list[Any]]:

    scores: dict[str, list[LocalScore]] = {name: [] for name in command.models}
    seconds, tuned = {"fit and predict": 0.0, "emit, pack and score": 0.0, "tune": 0.0}, []
    best = command.models[-1]
    for at, split in enumerate(progress(splits, desc="rehearsals")):
        start = time.perf_counter()
        files = predict(command.screen, split, command.features, command.models, command.seed + at)
        seconds["fit and predict"] += time.perf_counter() - start
        start = time.perf_counter()
        stage = HeldOutCells(command.screen, split, rule=command.rule, cells=command.cells, seed=command.seed + at,
                      n_boot=command.bootstrap)  # fmt: skip
        for name in command.models:
            scores[name].append(stage.play(files[name]))
        seconds["emit, pack and score"] += time.perf_counter() - start
        if command.tune:
            start = time.perf_counter()
            tuned.append(_tune(command, split, stage, files[best], best, scores[best][-1], command.seed + at))
            seconds["tune"] += time.perf_counter() - start
    return scores, seconds, tuned


def _tune(
    command: Rehearse, split: Path, stage: HeldOutCells, file, model: str, plain: "LocalScore", seed: int
) -> dict[str, Any]:
    """Knobs chosen within training, and what they are worth on the perturbations that were held out of it."""
    from dataclasses import asdict

    from vc_apps.rehearse.tune import compare, tune

    found = tune(command.screen, split, command.features, model, rule=command.rule, cells=command.cells, seed=seed,
                 n_boot=command.bootstrap)  # fmt: skip
    score = stage.play(file, amplitude=found.amplitude, dispersion=found.dispersion)
    return {
        "model": model, "amplitude": found.amplitude, "dispersion": found.dispersion,
        "worth_out_of_fold": [asdict(one) for one in found.worth],
        "worth_on_held_out": asdict(compare("both", found.amplitude, score, plain)),
    }  # fmt: skip


def _expect(found: list["LocalScore"], rule: str) -> Expectation:
    from dataclasses import replace

    import numpy as np

    one = expect(np.array([each.value for each in found]), np.array([np.nanvar(each.draws) for each in found]))
    # The score of 2025 is cut at 0, member by member.
    return replace(one, lower=max(one.lower, 0.0)) if rule == "vcc2025" else one


def make_table(command: Rehearse, scores: dict[str, list["LocalScore"]], expected: dict[str, Expectation]) -> str:
    """Scores of every rehearsal and what to expect, as Markdown."""
    head = [f"rehearsal {at + 1}" for at in range(command.repeats)]
    lines = [f"| model | {' | '.join(head)} | expected ({LEVEL:.0%}) | covered |", "|---" * (len(head) + 3) + "|"]
    for name, found in scores.items():
        each = " | ".join(f"{one.value:.3f} [{one.lower:.3f}, {one.upper:.3f}]" for one in found)
        one = expected[name]
        lines.append(
            f"| {name} | {each} | {one.value:.3f} [{one.lower:.3f}, {one.upper:.3f}] | {one.covered} of {one.tried} |"
        )
    return "\n".join(lines)


def _tuned_lines(tuned: list[dict[str, Any]]) -> list[str]:
    lines = []
    for at, one in enumerate(tuned):
        gain = one["worth_on_held_out"]
        lines.append(
            f"rehearsal {at + 1}: {one['model']} amplitude {one['amplitude']:g}, dispersion {one['dispersion']:g}: worth "
            f"{gain['gain']:+.3f} [{gain['lower']:+.3f}, {gain['upper']:+.3f}] on held-out perturbations"
        )
        lines += [
            f"  {w['knob']} {w['value']:g}: {w['gain']:+.3f} [{w['lower']:+.3f}, {w['upper']:+.3f}] out of fold"
            for w in one["worth_out_of_fold"]
            if w["value"] != 1
        ]
    return lines


def make_page(command: Rehearse, scores, expected, seconds: dict[str, float], tuned: list[dict[str, Any]]) -> str:
    """The rehearsal as a page."""
    notes = sorted({note for found in scores.values() for one in found for note in one.notes})
    parts = [
        f"# Rehearsal of {command.rule}",
        f"{command.repeats} times {command.test:.0%} of the perturbations were held out ({command.holdout}) of "
        f"{command.screen.name}; every model was fitted on the rest, its entry made, checked, packed, reopened and scored.",
        make_table(command, scores, expected),
        "Brackets after a score: 95 % over perturbations. Expected: for one more entry, from the spread between and within "
        "rehearsals; covered: rehearsals whose score lay in the interval made from the others.",
        *(["## Knobs of the emitter", "\n".join(f"- {line.strip()}" for line in _tuned_lines(tuned))] if tuned else []),
        "## Time", "\n".join(f"- {name}: {value:.0f} s" for name, value in seconds.items() if value),
        *(["## Notes", "\n".join(f"- {note}" for note in notes)] if notes else []),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _as_json(command: Rehearse, scores, expected, seconds, tuned) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "command": {name: str(value) for name, value in asdict(command).items()},
        "scores": {name: [one.as_dict() for one in found] for name, found in scores.items()},
        "expected": {name: asdict(one) for name, one in expected.items()},
        "seconds": seconds,
        "tuned": tuned,
    }
