"""Every command that prints a table prints JSON, too, and every command line takes the same switches."""

import importlib
import json

import pytest

MAINS = [
    "vc_data.cli.main",
    "vc_model.cli.main",
    "vc_eval.cli.main",
    "vc_featurize.cli.main",
    "vc_interp.cli.main",
    "vc_apps.cli",
]


def run(module, *args):
    try:
        return importlib.import_module(module).main(list(args)) or 0
    except SystemExit as left:
        return left.code or 0


@pytest.mark.parametrize("module", MAINS)
def test_the_version_of_every_command_line(module, capsys):
    assert run(module, "--version") == 0
    assert "0.1.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "args", "key"),
    [
        ("vc_data.cli.main", ["list"], "key"),
        ("vc_data.cli.main", ["list", "norman19_k562"], "citation"),
        ("vc_model.cli.main", ["list"], "definition"),
        ("vc_eval.cli.main", ["list", "--family", "vcc2025"], "formula|definition"),
        ("vc_featurize.cli.main", ["list"], "encoder"),
    ],
)
def test_lists_are_json_where_asked(module, args, key, capsys):
    assert run(module, *args, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) >= 1 and all(any(name in row for name in key.split("|")) for row in rows)


def test_files_are_described_as_json(screen, capsys):
    assert run("vc_data.cli.main", "inspect", str(screen), "--json") == 0
    assert json.loads(capsys.readouterr().out)


def test_a_quiet_command_says_nothing_but_its_result(tmp_path, capfd):
    assert run("vc_data.cli.main", "-q", "simulate", str(tmp_path / "demo"), "--preset", "tiny") == 0
    said = capfd.readouterr()
    assert said.err == "" and "wrote" in said.out and "\r" not in said.out
