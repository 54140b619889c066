"""What every command does before it begins: caches have a place that can be written."""

import os
from pathlib import Path

import pytest
from vc_contracts import command


@pytest.fixture
def surroundings(monkeypatch, tmp_path):
    for name in ("JAX_COMPILATION_CACHE_DIR", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        # Set, then taken away again, so that what the command sets is undone after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(command.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    return monkeypatch


def test_compiled_programs_are_kept_below_the_users_cache_folder(surroundings, tmp_path):
    command.ready_home()
    folder = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    assert folder.is_relative_to(tmp_path / ".cache" / "virtual-cell")
    assert folder.is_dir()
    assert "NUMBA_CACHE_DIR" not in os.environ


def test_another_processor_has_another_folder(surroundings):
    command.keep_compiled()
    one = os.environ.pop("JAX_COMPILATION_CACHE_DIR")
    surroundings.setattr(command.platform, "machine", lambda: "another")
    command.keep_compiled()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] != one


def test_a_choice_of_the_user_stands(surroundings):
    surroundings.setenv("JAX_COMPILATION_CACHE_DIR", "/chosen")
    command.ready_home()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "/chosen"


def test_without_a_home_that_can_be_written_caches_are_temporary(surroundings, tmp_path):
    surroundings.setenv("HOME", str(tmp_path / "absent"))
    surroundings.setattr(command.os, "access", lambda path, mode: not str(path).startswith(str(tmp_path / "absent")))
    command.ready_home()
    for name in ("JAX_COMPILATION_CACHE_DIR", "NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
        assert os.environ[name].startswith(str(tmp_path / "temporary")), name


def test_a_cache_folder_that_cannot_be_made_falls_back(surroundings, tmp_path):
    (tmp_path / ".cache").write_text("a file, no folder")
    command.keep_compiled()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"].startswith(str(tmp_path / "temporary"))
