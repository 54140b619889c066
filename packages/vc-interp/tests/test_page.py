"""The page: nothing from strangers becomes markup, nothing is fetched, and it works in a browser where one is there."""

import re
import shutil
import subprocess

import pandas as pd
import pytest
from vc_interp.errors import InputError
from vc_interp.report.page import read_tables, render, typed

EVIL = "</script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def page():
    features = pd.DataFrame({"feature": ["f0", "f1", "f2"], "dead": [False, False, True], "moved_by": [1, 5, 0],
                             "active_share": [0.1, 0.2, 0.0], "typical_activation": [1.0, 2.0, 0.0],
                             "stability": [0.9, float("nan"), float("nan")], "agreement": [1.0, 0.5, float("nan")]})  # fmt: skip
    tables = {
        "features": features,
        "genes": pd.DataFrame({"feature": ["f0", "f1"], "gene": [EVIL, "GATA1"], "intervention": [0.5, -1.0]}),
        "perturbations": pd.DataFrame({"cell_line": ["A"], "perturbation": [EVIL], "feature": ["f1"], "change": [1.0], "fdr": [0.01]}),
        "regulators": pd.DataFrame({"regulator": [EVIL], "targets": [5], "auroc": [0.7], "fdr": [0.02], "specific": [True]}),
    }  # fmt: skip
    summary = {"model": EVIL, "site": "a<b", "rows": 10, "width": 4, "n_features": 3, "architecture": "topk",
               "measures": {"explained": 0.9, "l0": 2.0, "dead": 1}}  # fmt: skip
    probes = pd.DataFrame(
        {"probe": [EVIL], "value": [0.5], "chance": [0.5], "chance_sd": [0.1], "n": [3], "note": [""]}
    )
    return render(summary, tables, probes=probes)


def test_text_of_strangers_stays_text(page):
    assert EVIL not in page and "alert(1)" in page
    assert len(re.findall(r"<script", page)) == 2


def test_nothing_is_fetched(page):
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "http://" not in page and "https://" not in page
    assert "default-src 'none'" in page


def test_dead_features_are_left_out_and_the_most_moved_come_first(page):
    data = page[page.index('id="data">') :]
    assert '"name":"f2"' not in data and data.index('"name":"f1"') < data.index('"name":"f0"')


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")
def test_a_browser_lists_the_features(page, tmp_path):
    (tmp_path / "page.html").write_text(page)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"]
    done = subprocess.run([*command, str(tmp_path / "page.html")], capture_output=True, text=True, timeout=300)
    assert "2 of 3" not in done.stdout and "2 of 2 living features" in done.stdout and "GATA1" in done.stdout


def test_numbers_are_read_as_numbers_and_names_as_names(tmp_path):
    table = typed(pd.DataFrame({"source": ["1", "2"], "z": ["1.5", None], "note": [None, "x"]}))
    assert table["source"].tolist() == ["1", "2"] and table["z"].iloc[0] == 1.5 and table["note"].tolist() == ["", "x"]
    with pytest.raises(InputError, match=r"summary\.json"):
        read_tables(tmp_path)
