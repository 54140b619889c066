"""The commands of docs/how-to/bring-your-own-screen.md run as they are printed."""

import re
import shlex
from pathlib import Path

import pytest
from vc_data.cli.main import main
from vc_data.cli.split import SplitOptions
from vc_data.errors import few
from vc_data.screen.file import read_screen

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "bring-your-own-screen.md"


@pytest.fixture
def page():
    # In the workspace the page has to be there; a renamed page must not turn its test off.
    if not (PAGE.parents[2] / "docs").is_dir():
        pytest.skip("the package stands outside its workspace: no docs")
    return PAGE.read_text()


def test_every_command_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) >= 10
    for command in commands:
        assert main(shlex.split(command, comments=True)[1:]) == 0, (command, capsys.readouterr().err)
    out = capsys.readouterr().out
    assert "dropped" in out and "held out: no training condition" in out
    assert read_screen("strict.zarr").n_obs < read_screen("demo.zarr").n_obs
    assert len(Path("genes.txt").read_text().split()) == 20


def test_flags_and_messages_that_it_names_exist(page):
    source = "\n".join(path.read_text() for path in (Path(__file__).parents[1] / "src").rglob("*.py"))
    fields = set(re.findall(r"^\s+([a-z_]+):", source, flags=re.MULTILINE))
    flags = {flag.replace("-", "_") for flag in re.findall(r"--([a-z][a-z-]+)", page)}
    flags -= {"no_dev"}  # of uv
    assert flags and not {flag for flag in flags if flag not in fields}, few(flags - fields)
    recipes = re.findall(r"\| `([a-z_]+)", page[page.index("| question") : page.index("A misspelt")])
    assert set(recipes) <= set(SplitOptions.__annotations__["recipe"].__args__)
    rows = page[page.index("| message contains") :]
    for message in re.findall(r"^\| `([^`]+)`", rows, flags=re.MULTILINE):
        assert message.split(" part")[0].removeprefix("looks ") in source, message
