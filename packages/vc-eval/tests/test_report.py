import base64
import json
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from vc_eval.errors import VcEvalError
from vc_eval.report.page import write_report
from vc_eval.stats.summary import summarise


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.resources, self.tags, self.scripts, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.resources += [value for key, value in attrs if key in ("src", "href", "action", "data")]
        if tag == "script":
            self.scripts.append([dict(attrs).get("type"), ""])

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "script" and self.scripts:
            self.scripts[-1][1] += data
        self.text += data

    @property
    def data(self):
        return json.loads(next(text for kind, text in self.scripts if kind == "application/json"))


@pytest.fixture(scope="module")
def page_path(scored, baselines, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    table = summarise([scored], baselines=baselines, seed=0, n_boot=60)
    meta = {
        "model": "oracle",
        "baselines": baselines,
        "seed": 0,
        "n_boot": 60,
        "command": "vc-eval </script> & run",
        "hashes": {"screen.zarr": "ab12"},
    }
    write_report(path, summary=table, splits_scores=[scored], meta=meta)
    return path


def test_page_is_whole_and_loads_nothing(page_path):
    text = page_path.read_text()
    page = Page(text)
    assert set(page.resources) <= {"data:,"}
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text
    assert "@import" not in text and "url(" not in text
    assert "vc-eval &lt;/script&gt; &amp; run" in text  # names cannot break out of the page
    assert [p.name for p in page_path.parent.iterdir()] == ["report.html"]


def test_data_hold_every_model_metric_and_condition(page_path, scored):
    data = Page(page_path.read_text()).data
    models = {"truth", "oracle", "mean_effect", "no_change", "random", "cell_eval_mean", "split_half"}
    assert models <= set(data["models"])
    for metric in data["metrics"]:
        shown = data["scores"]["all"][metric["name"]]
        assert models - {data["best"]["all"]["mse_delta"]} <= set(shown), metric["name"]
        assert metric["chance"] and metric["direction"] in ("higher", "lower")
    assert data["groups"] == ["all", "A", "B", "combo", "medium", "single", "strong", "weak"]
    labels = [c["label"] for c in data["scatter"]["conditions"]]
    assert labels == [f"{line} | {name}" for line, name in scored.notes["test"]]
    assert {row["baseline"] for row in data["paired"]} == {"mean_effect", "no_change", "random", "cell_eval_mean"}
    assert set(data["coverage"]) == {"truth", "oracle", "mean_effect", "no_change", "random"}


def test_scatter_unpacks_to_the_deltas(page_path, scored):
    scatter = Page(page_path.read_text()).data["scatter"]
    condition, line = scatter["conditions"][0], scored.deltas[0]
    genes = [scatter["genes"][k] for k in np.frombuffer(base64.b64decode(condition["genes"]), "<u4")]
    rows = np.searchsorted(line.genes, genes)
    for packed, expected in (
        (condition["measured"], line.measured_pg),
        (condition["predicted"]["random"], line.predicted["random"]),
    ):
        found = np.frombuffer(base64.b64decode(packed), "<i2") / scatter["scale"]
        np.testing.assert_allclose(found, expected[0, rows], atol=0.00051)
    assert len(genes) == line.genes.size  # fewer genes than the cap: all are drawn


def test_page_says_what_was_held_out_and_why(page_path, scored):
    text = Page(page_path.read_text()).text
    for phrase in (
        "kept aside by the toy split",
        "16 conditions",
        "ab12",
        "cell_eval_mean",
        "The perturbed gene is left out.",
    ):
        assert phrase in text
    for line, name in scored.notes["test"]:
        assert f"{line} | {name}" in text


def test_unknown_model_is_refused(scored, baselines, tmp_path):
    table = summarise([scored], baselines=baselines, seed=0, n_boot=20)
    with pytest.raises(VcEvalError, match="'nobody' was not scored"):
        write_report(
            tmp_path / "r.html", summary=table, splits_scores=[scored], meta={"model": "nobody", "baselines": baselines}
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium binary")
def test_page_draws_in_a_browser_without_errors(page_path, tmp_path):
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
        f"--user-data-dir={tmp_path}", "--virtual-time-budget=4000", "--dump-dom", page_path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    page = Page(done.stdout)
    assert page.tags.count("circle") > 200  # 120 genes and the intervals
    assert page.tags.count("polyline") == 5
    for model in ("truth", "oracle", "mean_effect", "no_change", "random", "cell_eval_mean", "split_half"):
        assert f'<th scope="row">{model}</th>' in done.stdout
    assert "NaN" not in done.stdout.split("<script", 1)[0] and "undefined," not in done.stdout.split("<script", 1)[0]
