"""The examples of the README run as they are printed."""

import re
import shlex
from pathlib import Path

from vc_data.cli.main import main

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_commands_and_python_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line, comments=True)[1:] for line in blocks("bash")[0].splitlines()]
    for command in commands:
        assert main(command) == 0, capsys.readouterr().err
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    assert {path.name for path in tmp_path.iterdir()} >= {"demo", "demo.zarr", "splits.json", "by_line.json"}
