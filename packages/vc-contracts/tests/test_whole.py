"""The one writer: nothing half done, nothing of the user's replaced."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import vc_contracts
from vc_contracts import OutputError, check_target, write_whole


def write_split(path, **options):
    header = vc_contracts.make_header("splits", writer="vc-contracts")
    with write_whole(path, kind="splits", **options) as temporary:
        temporary.write_text(json.dumps({"contract": header}))


def test_an_output_of_the_same_kind_is_replaced_only_on_request(tmp_path):
    write_split(tmp_path / "a.json")
    with pytest.raises(OutputError, match="--overwrite"):
        write_split(tmp_path / "a.json")
    write_split(tmp_path / "a.json", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("kind", ["splits", "screen", "checkpoint", "features", "scores", "simulation"])
def test_a_folder_of_the_user_is_never_replaced(tmp_path, kind):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="earlier"), write_whole(tmp_path / "precious", kind=kind, overwrite=True):
        pytest.fail("work was begun")
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "mine"


def test_an_output_that_holds_a_file_of_the_user_is_not_replaced(tmp_path):
    for stranger in (None, "notes.txt"):
        if stranger:
            (tmp_path / "out" / stranger).write_text("mine")
        try:
            with write_whole(tmp_path / "out", kind="simulation", overwrite=True) as temporary:
                temporary.mkdir()
                (temporary / "truth.txt").write_text("x")
        except OutputError as error:
            assert "notes.txt" in str(error)
        else:
            assert stranger is None
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_an_output_of_another_kind_is_not_replaced(tmp_path):
    write_split(tmp_path / "a.json")
    with pytest.raises(OutputError, match="earlier"):
        check_target(tmp_path / "a.json", kind="screen", overwrite=True)


def test_an_input_is_no_output(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for path in ("data", "data/inside", "link", "data/../data"):
        with pytest.raises(OutputError):
            check_target(tmp_path / path, overwrite=True, inputs=[tmp_path / "data"])
    with pytest.raises(OutputError, match="inside"):
        check_target(tmp_path, overwrite=True, inputs=[tmp_path / "data"])


def test_a_link_is_no_output_to_replace(tmp_path):
    (tmp_path / "real").write_text("mine")
    (tmp_path / "out").symlink_to(tmp_path / "real")
    with pytest.raises(OutputError, match="symbolic link"), write_whole(tmp_path / "out", overwrite=True):
        pass
    assert (tmp_path / "real").read_text() == "mine"


def test_a_second_writer_waits_outside(tmp_path):
    with write_whole(tmp_path / "out") as temporary:
        temporary.write_text("first")
        with pytest.raises(OutputError, match="another one"), write_whole(tmp_path / "out"):
            pass
    assert (tmp_path / "out").read_text() == "first"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_killed_writer_leaves_nothing_after_the_next_run(tmp_path, how):
    code = """
        import sys, time
        from vc_contracts import write_whole
        with write_whole(sys.argv[1]) as temporary:
            temporary.write_text("half")
            print("ready", flush=True)
            time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), tmp_path / "out"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdout.readline()
        os.kill(process.pid, how)
        process.wait()
    assert not (tmp_path / "out").exists()
    if how != signal.SIGKILL:
        assert list(tmp_path.iterdir()) == []
    with write_whole(tmp_path / "out") as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_kill_between_the_two_renames_is_undone(tmp_path):
    (tmp_path / ".out.old-1-abc").mkdir()
    (tmp_path / ".out.old-1-abc" / "x").write_text("older")
    with pytest.raises(OutputError, match="--overwrite"):
        check_target(tmp_path / "out")
    assert (tmp_path / "out" / "x").read_text() == "older"
