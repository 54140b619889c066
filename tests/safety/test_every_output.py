"""Every command that writes: nothing of the user's is replaced, and that is known before any work is done.

The inputs that the commands name do not exist here: a command that looked at one before its output would say so.
"""

import importlib
import shlex
from importlib.metadata import entry_points

import pytest

MAIN = {
    script.name: f"{script.value.partition(':')[0]}:main"
    for script in entry_points(group="console_scripts")
    if script.name.split("-")[0] == "vc"
}
# A command, IN an input, OUT its output; ending of the output, '' for a folder.
WRITERS = [
    ("vc quickstart --data IN --out OUT", ""),
    ("vc train anchored IN splits.json -o OUT", ""),
    ("vc train st IN splits.json -o OUT", ""),
    ("vc train biojepa IN splits.json -o OUT", ""),
    ("vc train biojepa-pretrain IN splits.json -o OUT", ""),
    ("vc train biojepa-align IN splits.json -o OUT --start x", ""),
    ("vc train biojepa-ac IN splits.json -o OUT --start x", ""),
    ("vc train biojepa-decode IN splits.json -o OUT --start x", ""),
    ("vc fit IN -o OUT", ""),
    ("vc predict IN --genes TP53 -o OUT", ""),
    ("vc predict model IN splits.json -o OUT", ".zarr"),
    ("vc support IN --out OUT", ".tsv"),
    ("vc support IN --out OUT", ".png"),
    ("vc plot volcano IN -o OUT", ".svg"),
    ("vc submit IN splits.json predictions.zarr -o OUT", ".vcc"),
    ("vc submit IN splits.json predictions.zarr -o OUT", ".h5ad"),
    ("vc rehearse IN -o OUT", ""),
    ("vc discover next --scores IN --library l -o OUT", ""),
    ("vc discover target --effects IN -o OUT", ""),
    ("vc discover moa --effects IN -o OUT", ""),
    ("vc discover combo --run IN -o OUT", ""),
    ("vc discover lethal --pairs IN -o OUT", ""),
    ("vc discover biomarker --response IN --baseline b -o OUT", ""),
    ("vc discover safety --run IN --panels p -o OUT", ""),
    ("vc discover escape --given TP53 --run IN -o OUT", ""),
    ("vc discover steer --run IN -o OUT", ""),
    ("vc discover network --run IN -o OUT", ""),
    ("vc discover mechanism --gene TP53 --run IN -o OUT", ""),
    ("vc-data convert IN OUT", ".zarr"),
    ("vc-data convert-effects IN OUT --values z", ".zarr"),
    ("vc-data split IN OUT", ".json"),
    ("vc-data merge IN b.zarr OUT", ".zarr"),
    ("vc-data variable IN splits.json OUT", ".txt"),
    ("vc-data genes IN panel.txt --output OUT", ".json"),
    ("vc-data simulate OUT", ""),
    ("vc-featurize protein IN --out OUT", ".zarr"),
    ("vc-featurize guide IN --out OUT", ".zarr"),
    ("vc-featurize compound IN --out OUT", ".zarr"),
    ("vc-featurize geneset IN --out OUT", ".h5ad"),
    ("vc-featurize graph IN --out OUT", ".zarr"),
    ("vc-featurize table IN --out OUT", ".zarr"),
    ("vc-interp enrich IN --genesets g.gmt --out OUT", ".tsv"),
    ("vc-interp sae IN OUT", ""),
    ("vc-interp features IN sae --out OUT", ""),
    ("vc-interp attention IN --effects e --out OUT", ""),
    ("vc-interp probe IN --out OUT", ".tsv"),
    ("vc-interp report IN --out OUT", ".html"),
    ("vc interp IN screen.zarr splits.json -o OUT", ""),
    ("vc-model latents IN screen.zarr splits.json OUT", ".zarr"),
    ("vc-model fit IN splits.json OUT", ""),
    ("vc-model predict model IN splits.json OUT", ".h5ad"),
    ("vc-model encode model IN splits.json OUT", ".zarr"),
    ("vc-eval cells --real IN --pred p --out OUT", ""),
    ("vc-eval split --screen IN --splits s --pred p --out OUT", ""),
    ("vc-eval baseline --real IN --out OUT", ".h5ad"),
    ("vc-eval score --user IN --base b --out OUT", ".csv"),
    ("vc-eval compare IN other --out OUT", ".csv"),
    ("vc-eval report IN --out OUT", ".html"),
    ("vc-eval prep --pred IN --genes g --out OUT", ".vcc"),
    ("vc-eval plot volcano IN -o OUT", ".pdf"),
]
WITH_INPUT = [(line, ending) for line, ending in WRITERS if " IN" in line]
READERS = {
    "vc": {"rerun"},
    "vc-data": {"list", "inspect", "check", "download"},
    "vc-eval": {"list"},
    "vc-featurize": {"list", "inspect", "compare"},
    "vc-interp": {"inspect"},
    "vc-model": {"list"},
}
"""Commands that write nothing of their own; a download keeps what is there."""


def run(capsys, line: str) -> str:
    """Run a command that must be refused; what it says."""
    program, *words = shlex.split(line)
    module, _, name = MAIN[program].partition(":")
    try:
        code = getattr(importlib.import_module(module), name)(words)
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr().err
    assert code == 2, said
    assert len(said.strip().splitlines()) == 1, said
    return said


@pytest.mark.parametrize(("line", "ending"), WRITERS, ids=[f"{line.split(' IN')[0]}{end}" for line, end in WRITERS])
def test_nothing_of_the_user_is_replaced(tmp_path, monkeypatch, capsys, line, ending):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / f"mine{ending}"
    line = line.replace("OUT", out.name)
    if ending and ending != ".zarr":
        keep = out
        keep.write_bytes(b"\x28\xb5\x2f\xfd\0 a year of work")
    else:
        keep = out / "thesis.txt"
        out.mkdir()
        keep.write_text("a year of work")
    before = keep.read_bytes()
    assert "--overwrite" in run(capsys, line.replace("IN", "absent"))
    assert "earlier" in run(capsys, f"{line} --overwrite".replace("IN", "absent"))
    assert keep.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize(
    ("line", "ending"), WITH_INPUT, ids=[f"{line.split(' IN')[0]}{end}" for line, end in WITH_INPUT]
)
def test_an_input_is_no_output(tmp_path, monkeypatch, capsys, line, ending):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / f"both{ending}"
    if ending and ending != ".zarr":
        source.write_bytes(b"")
    else:
        source.mkdir()
    said = run(capsys, line.replace("IN", source.name).replace("OUT", f"./{source.name}") + " --overwrite")
    assert "another place than its inputs" in said
    assert source.exists()


def test_no_command_that_writes_is_left_out():
    from vc_apps.commands import COMMANDS
    from vc_eval.cli.main import _COMMANDS

    listed: dict[str, set[str]] = {}
    for line, _ in WRITERS:
        program, command = line.split()[:2]
        listed.setdefault(program, set()).add(command)
    for program, commands in (("vc", COMMANDS), ("vc-eval", _COMMANDS)):
        assert set(commands) == listed[program] | READERS[program]
    for program, module in (("vc-data", "vc_data.cli.main"), ("vc-featurize", "vc_featurize.cli.main")):
        help_text = _help(module)
        for command in listed[program] | READERS[program]:
            assert command in help_text


def _help(module: str) -> str:
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        importlib.import_module(module).main(["--help"])
    return out.getvalue()
