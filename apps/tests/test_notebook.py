"""The notebook of the how-to, cell by cell: on a screen that it simulates, and on Norman where that is at hand."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "how-to" / "from-my-screen-to-a-figure.ipynb"
NORMAN = ROOT.parent / "shared" / "data" / "single_cell" / "norman2019_k562_crispra_500g.h5ad"


def run(**parameters):
    """Run every code cell in one namespace, as a kernel does; parameters replace those of the tagged cell."""
    names: dict = {}
    for number, cell in enumerate(json.loads(NOTEBOOK.read_text())["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
            if "parameters" in cell["metadata"].get("tags", []):
                names.update(parameters)
    return names


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def check(names):
    assert {"support.png", "volcano.svg", "heatmap.png"} <= {path.name for path in Path.cwd().iterdir()}
    assert names["table"]["support"].tolist()[0] == "seen here"


def test_on_a_simulated_screen():
    check(run(model="kernel_ridge"))


@pytest.mark.skipif(not NORMAN.exists(), reason="../shared is not here")
def test_on_norman():
    names = run(source=str(NORMAN), model="kernel_ridge")
    check(names)
    assert names["line"] == "K562"
