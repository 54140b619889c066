"""What is held out in a rehearsal, and which knob is taken."""

import json

import numpy as np
import pytest
from vc_apps.outputs import AppError
from vc_apps.rehearse.holdouts import hold_out_within
from vc_apps.rehearse.tune import Worth, best_of, compare
from vc_apps.submit.score import LocalScore


def write(path, rows):
    conditions = [{"cell_line": "A", "perturbation": name, "part": part} for name, part in rows]
    header = {"name": "splits", "content": "of the old content"}
    path.write_text(json.dumps({"contract": header, "conditions": conditions, "controls": {}}))
    return path


def test_within_training_nothing_of_the_outer_test_is_used(tmp_path):
    names = [f"P{at}" for at in range(12)]
    rows = [(name, "test" if at < 3 else "train") for at, name in enumerate(names)] + [("P5+P6", "train")]
    outer = write(tmp_path / "outer.json", rows)
    content = json.loads(hold_out_within(outer, tmp_path / "inner.json", test=1 / 3, seed=0).read_text())
    inner = content["conditions"]
    assert "content" not in content["contract"]
    part = {row["perturbation"]: row["part"] for row in inner}
    assert all(part[name] == "unused" for name in names[:3])
    held = {name for name in part if part[name] == "test"}
    assert len([name for name in held if "+" not in name]) == 3
    trained = {target for name in part if part[name] == "train" for target in name.split("+")}
    assert not trained & {target for name in held for target in name.split("+")}


def score(value, draws):
    return LocalScore(value, 0, 1, {}, 9, np.asarray(draws))


def test_a_knob_is_taken_only_where_its_gain_is_clear_of_zero():
    rng = np.random.default_rng(0)
    base = rng.normal(0.3, 0.1, 500)
    sure, unsure = score(0.32, base + 0.02), score(0.4, base + rng.normal(0.1, 0.2, 500))
    found = [compare("amplitude", at, one, score(0.3, base)) for at, one in ((0.5, sure), (2.0, unsure))]
    assert found[0].lower == pytest.approx(0.02) and found[1].lower < 0 < found[1].upper
    assert best_of(found) == 0.5
    assert best_of([Worth("amplitude", 0.5, 0.3, 0.1, -0.1, 0.3)]) == 1.0


def test_refusals_come_before_any_work(tmp_path):
    from vc_apps.rehearse.run import rehearse
    from vc_apps.submit.run import submit
    from vc_apps.submit.settings import Rehearse, Submit

    paths = {"screen": tmp_path / "s.zarr", "splits": tmp_path / "p.json"}
    for changes, said in (
        ({"out": tmp_path / "x.txt", "baseline": "control"}, "ends in .vcc or .h5ad"),
        ({"out": tmp_path / "x.vcc"}, "and not both"),
        ({"out": tmp_path / "x.vcc", "baseline": "control", "cells": 0}, "--cells 0"),
        ({"out": tmp_path / "x.vcc", "baseline": "control", "amplitude": -1.0}, "--amplitude"),
    ):
        with pytest.raises(AppError, match=said):
            submit(Submit(**paths, **changes))
    for changes, said in (
        ({"test": 1.5}, "--test"),
        ({"repeats": 0}, "--repeats"),
        ({"models": ("nope",)}, "--models"),
    ):
        with pytest.raises(AppError, match=said):
            rehearse(Rehearse(screen=paths["screen"], out=tmp_path / "r", **changes))
    assert not list(tmp_path.iterdir())


def test_a_knob_is_moved_only_where_the_evidence_points_one_way():
    def made(*rows):
        return [Worth("amplitude", value, 0.0, gain, lower, gain + 0.01) for value, gain, lower in rows]

    assert best_of(made((0.5, -0.1, -0.2), (1.0, 0.0, 0.0), (1.25, 0.02, 0.01), (1.6, 0.03, 0.01))) == 1.6
    assert best_of(made((0.5, 0.03, 0.01), (1.0, 0.0, 0.0), (1.6, 0.02, 0.01))) == 1.0
    assert best_of(made((0.5, 0.03, -0.01), (1.0, 0.0, 0.0), (1.6, 0.04, -0.01))) == 1.0
