"""The page can be read by everyone: contrast, order of headings, names of what can be reached by keyboard."""

import itertools
import json
import re

import pytest
from vc_eval.report.page import write_report
from vc_eval.stats.summary import summarise


@pytest.fixture(scope="module")
def page(scored, baselines, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    table = summarise([scored], baselines=baselines, seed=0, n_boot=20)
    write_report(path, summary=table, splits_scores=[scored], meta={"model": "oracle", "baselines": baselines})
    return path.read_text()


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_text_has_a_contrast_of_4_5_in_light_and_dark(page):
    for block in re.findall(r":root \{([^}]*)\}", page):
        colours = dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]{6})", block))
        for text in ("--ink", "--soft", "--model", "--ceiling"):
            assert contrast(colours[text], colours["--paper"]) >= 4.5, text
        assert contrast(colours["--soft"], colours["--model-wash"]) >= 4.5


def test_headings_descend_one_level_at_a_time(page):
    levels = [int(level) for level in re.findall(r"<h([1-6])", page.split("<script")[0])]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_every_condition_stands_in_the_table_with_its_noise(page, scored):
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S).group(1))
    rows = data["conditions"]["pearson_delta"]
    own = scored.conditions.query("model == 'oracle' and metric == 'pearson_delta'")
    assert len(rows) == len(own)
    name, value, _, _, noise = rows[0]
    line, perturbation = name.split(" | ")
    found = own[(own["cell_line"] == line) & (own["perturbation"] == perturbation)]["value"].iloc[0]
    assert value == pytest.approx(found, rel=1e-4) and noise > 0


def test_a_hostile_name_stays_text(scored, baselines, tmp_path):
    import dataclasses

    name = "<!--<script>alert(1)</script>"
    conditions = scored.conditions.assign(model=scored.conditions["model"].replace("oracle", name))
    deltas = [
        dataclasses.replace(d, predicted={name if k == "oracle" else k: v for k, v in d.predicted.items()})
        for d in scored.deltas
    ]
    renamed = dataclasses.replace(
        scored, conditions=conditions, deltas=deltas, models=[name if m == "oracle" else m for m in scored.models]
    )
    table = summarise([renamed], baselines=baselines, seed=0, n_boot=20)
    write_report(
        tmp_path / "r.html", summary=table, splits_scores=[renamed], meta={"model": name, "baselines": baselines}
    )
    text = (tmp_path / "r.html").read_text()
    assert "<!--<script>" not in text and "default-src 'none'" in text
