"""What every command line of the project has in common."""

import json
import subprocess
import sys

import numpy as np
import pytest
from vc_contracts.command import print_json, switches, version_line
from vc_contracts.progress import VOLUME, progress, say


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setenv(VOLUME, "normal")


def test_switches_are_taken_out_wherever_they_stand_and_set_the_volume(capsys):
    assert switches(["fit", "-q", "a.zarr", "--quiet"], ()) == ["fit", "a.zarr"]
    say("nothing")
    assert capsys.readouterr().err == ""
    assert switches(["fit", "--verbose"], ()) == ["fit"]
    say("something")
    assert capsys.readouterr().err == "something\n"


def test_the_version_is_printed_and_that_is_all(capsys):
    with pytest.raises(SystemExit) as left:
        switches(["--version"], ["vc-contracts", "no-such-package"])
    assert left.value.code == 0
    assert capsys.readouterr().out.strip() == version_line(["vc-contracts"])


def test_json_holds_no_infinities_and_takes_arrays(capsys):
    print_json({"a": np.array([1.0, np.nan]), "b": (np.int64(3), float("inf"), None, True), "c": {"d": "text"}})
    assert json.loads(capsys.readouterr().out) == {"a": [1.0, None], "b": [3, None, None, True], "c": {"d": "text"}}


def test_a_log_holds_no_bar():
    code = (
        "from vc_contracts.progress import progress\n"
        "assert list(progress(range(3), desc='work', mininterval=0)) == [0, 1, 2]\n"
        "with progress(total=2, desc='more') as bar:\n    bar.update(2)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr == b"" and done.stdout == b""


def test_a_terminal_shows_a_bar_unless_it_is_quiet(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    list(progress(range(3), desc="work", mininterval=0))
    assert "work" in capsys.readouterr().err
    monkeypatch.setenv(VOLUME, "quiet")
    list(progress(range(3), desc="work", mininterval=0))
    assert capsys.readouterr().err == ""
