"""A run folder appears whole or not at all."""

import errno

import pytest
from vc_apps.cli import guarded
from vc_apps.outputs import RUN_FNAME, AppError, check_space, run_folder
from vc_contracts import OutputError
from vc_contracts.trouble import disk_is_full


def _write_run(out, text="new", *, overwrite=False):
    with run_folder(out, overwrite=overwrite) as dpath:
        (dpath / RUN_FNAME).write_text(text)


def test_the_folder_appears_with_everything_in_it(tmp_path):
    _write_run(tmp_path / "run")
    assert (tmp_path / "run" / RUN_FNAME).read_text() == "new"
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".lock"] == ["run"]


@pytest.mark.parametrize("error", [ValueError("refused"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_a_failed_run_leaves_nothing(tmp_path, error):
    with pytest.raises(type(error)), run_folder(tmp_path / "run") as dpath:
        (dpath / "half.txt").write_text("half")
        raise error
    assert [p for p in tmp_path.iterdir() if p.suffix != ".lock"] == []


def test_a_failed_run_keeps_the_earlier_one(tmp_path):
    _write_run(tmp_path / "run", "first")
    with pytest.raises(ValueError, match="refused"), run_folder(tmp_path / "run", overwrite=True):
        raise ValueError("refused")
    assert (tmp_path / "run" / RUN_FNAME).read_text() == "first"
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".lock"] == ["run"]


def test_an_earlier_run_is_replaced_only_when_asked_and_when_the_new_one_is_whole(tmp_path):
    _write_run(tmp_path / "run", "first")
    with pytest.raises(OutputError, match="overwrite"):
        _write_run(tmp_path / "run")
    assert (tmp_path / "run" / RUN_FNAME).read_text() == "first"
    _write_run(tmp_path / "run", "second", overwrite=True)
    assert (tmp_path / "run" / RUN_FNAME).read_text() == "second"


def test_what_is_no_run_is_never_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("words")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="thesis"):
            _write_run(tmp_path / "thesis", overwrite=overwrite)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "words"


def test_a_run_with_something_of_the_users_in_it_is_kept(tmp_path):
    _write_run(tmp_path / "run", "first")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"notes\.txt"):
        _write_run(tmp_path / "run", "second", overwrite=True)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_disk_that_is_too_small_is_refused_before_writing(tmp_path):
    check_space(tmp_path, 1)
    with pytest.raises(OSError) as caught:
        check_space(tmp_path, 1 << 62)
    assert disk_is_full(caught.value)


def test_a_full_disk_is_recognised_through_its_causes():
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("writing failed") from error
    except RuntimeError as error:
        assert disk_is_full(error)
    assert disk_is_full(RuntimeError("file write failed: errno = 28, error message"))
    assert not disk_is_full(ValueError("bad counts"))


@pytest.mark.parametrize(
    ("error", "code"), [(AppError("no such file"), 2), (FileNotFoundError("x"), 2), (KeyboardInterrupt(), 130)]
)
def test_errors_become_one_line_and_an_exit_code(error, code, capsys):
    def job():
        raise error

    assert guarded(job) == code
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_errors_of_our_own_making_keep_their_traceback():
    def job():
        raise ValueError("a bug, not a refusal")

    with pytest.raises(ValueError, match="a bug"):
        guarded(job)
