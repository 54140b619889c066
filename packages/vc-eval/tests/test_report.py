import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree

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


PROBE = r"""
(async () => {
  const $ = (id) => document.getElementById(id), out = {width: innerWidth, scheme: getComputedStyle(document.body).backgroundColor};
  const table = $("table"), box = table.parentNode, first = () => table.tBodies[0].rows[0].cells[0];
  out.page_is_wider_by = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  out.table_is_wider_by = table.scrollWidth - box.clientWidth;
  out.first_column = first().getBoundingClientRect().width / box.clientWidth;
  box.scrollLeft = 200;
  out.scrolled = box.scrollLeft;
  out.first_stays = Math.abs(first().getBoundingClientRect().left - box.getBoundingClientRect().left) < 2;
  box.scrollLeft = 0;
  const button = table.tHead.rows[0].cells[1].querySelector("button"), name = button.dataset.name;
  button.focus(); button.click();
  out.focus = document.activeElement.dataset.name === name;
  out.sort = [...table.tHead.rows[0].cells].slice(1).map((c) => c.getAttribute("aria-sort"));
  out.column = [...table.tBodies[0].rows].map((r) => r.cells[1].firstChild.textContent);
  const own = () => $("conditions").tHead.rows[0].cells[0];
  own().querySelector("button").focus(); own().querySelector("button").click();
  out.conditions = [own().getAttribute("aria-sort"), document.activeElement === own().querySelector("button")];
  out.names = [...$("conditions").tBodies[0].rows].map((r) => r.cells[0].textContent);
  const svg = $("scatter");
  svg.focus();
  for (const key of ["ArrowRight", "ArrowRight"]) svg.dispatchEvent(new KeyboardEvent("keydown", {key, cancelable: true}));
  out.scatter = [document.activeElement === svg, $("gene").textContent, $("gene").getAttribute("aria-live")];
  out.regions = [...document.querySelectorAll(".scroll")].filter((x) => x.scrollWidth > x.clientWidth + 1 && x.tabIndex < 0).length;
  out.names_of_buttons = [...document.querySelectorAll("button")].every((b) => (b.getAttribute("aria-label") || b.textContent).trim());
  out.figures = document.querySelectorAll("figure").length - document.querySelectorAll("figure .save").length;
  const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = (c) => { const [r, g, b] = c.map((x) => x / 255).map((x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (node) => { for (let x = node; x; x = x.parentElement) { const c = rgb(getComputedStyle(x).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  out.contrast = [99, ""];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || ["SCRIPT", "TITLE", "title", "OPTION"].includes(node.tagName)) continue;
    const style = getComputedStyle(node), a = light(rgb(node.namespaceURI.endsWith("svg") ? style.fill : style.color)), b = light(behind(node));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < out.contrast[0]) out.contrast = [ratio, walk.currentNode.textContent.trim().slice(0, 60)];
  }
  let saved = null;
  const make = URL.createObjectURL;
  URL.createObjectURL = (blob) => { saved = blob; return make(blob); };
  HTMLAnchorElement.prototype.click = function () { out.file = this.download; };
  document.querySelector("#dots .save").click();
  out.saved = await saved.text();
  const said = document.createElement("script");
  said.type = "text/plain"; said.id = "probe"; said.textContent = encodeURIComponent(JSON.stringify(out));
  document.body.append(said);
  parent.postMessage(said.outerHTML, "*");
})();
"""
PHONE = """<!doctype html><body style="margin:0"><iframe src="probed.html" width="390" height="844" style="border:0"></iframe>
<script>addEventListener("message", (event) => document.body.insertAdjacentHTML("beforeend", event.data))</script>"""


def browse(page_path, tmp_path, *more, phone=False):
    """What a browser makes of the page, and what the probe saw in it; no window is as narrow as a phone, but a frame is."""
    (tmp_path / "probed.html").write_text(page_path.read_text().replace("</body>", f"<script>{PROBE}</script></body>"))
    (tmp_path / "phone.html").write_text(PHONE)
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0", "--hide-scrollbars",
        "--window-size=1280,900", f"--user-data-dir={tmp_path}", "--virtual-time-budget=4000", *more, "--dump-dom",
        (tmp_path / ("phone.html" if phone else "probed.html")).as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    found = re.search(r'<script type="text/plain" id="probe">(.*?)</script>', done.stdout)
    return done.stdout, json.loads(unquote(found.group(1)))


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium binary")
def test_page_draws_in_a_browser_without_errors(page_path, tmp_path):
    text, seen = browse(page_path, tmp_path)
    page = Page(text)
    assert page.tags.count("circle") > 200  # 120 genes and the intervals
    assert page.tags.count("polyline") == 5
    for model in ("truth", "oracle", "mean_effect", "no_change", "random", "cell_eval_mean", "split_half"):
        assert f'<th scope="row">{model}</th>' in text
    assert "NaN" not in text.split("<script", 1)[0] and "undefined," not in text.split("<script", 1)[0]
    assert seen["width"] == 1280 and seen["page_is_wider_by"] <= 0 and seen["table_is_wider_by"] <= 0
    assert seen["contrast"][0] >= 4.5, seen["contrast"]
    assert seen["focus"] and seen["sort"][0] in ("ascending", "descending") and set(seen["sort"][1:]) == {"none"}
    values = [float(text) for text in seen["column"] if text != "\u2013"]
    assert values == sorted(values, reverse=seen["sort"][0] == "descending") and len(values) > 3
    assert seen["conditions"] == ["ascending", True] and seen["names"] == sorted(seen["names"], key=str.lower)
    reached, told, live = seen["scatter"]
    assert reached and "measured" in told and "predicted" in told and live == "polite"
    assert seen["names_of_buttons"] and seen["regions"] == 0 and seen["figures"] == 0
    assert seen["file"].endswith(".svg") and ElementTree.fromstring(seen["saved"]).tag.endswith("svg")
    assert "var(" not in seen["saved"]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium binary")
def test_page_fits_a_phone_in_the_dark(page_path, tmp_path):
    _, seen = browse(page_path, tmp_path, "--blink-settings=preferredColorScheme=0", phone=True)
    assert seen["scheme"] == "rgb(23, 25, 28)", "the colours of the dark"
    assert seen["width"] == 390 and seen["page_is_wider_by"] <= 0
    assert seen["table_is_wider_by"] > 0 and seen["scrolled"] > 100 and seen["first_stays"]
    assert seen["regions"] == 0, "what scrolls is reached by keyboard"
    assert seen["first_column"] <= 0.34 and seen["contrast"][0] >= 4.5, seen["contrast"]
