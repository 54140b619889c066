from pathlib import Path

import pytest
from vc_eval.metrics import REGISTRY, custom
from vc_eval.metrics.page import SHARED, anchor_of, markdown

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_the_committed_page_is_the_generated_one():
    if not PAGE.exists():
        pytest.skip("installed without the docs")
    assert not custom.CUSTOM
    assert PAGE.read_text() == markdown(), "uv run vc-eval list --markdown > docs/metrics.md"


def test_every_metric_stands_on_the_page_and_every_reference_leads_somewhere():
    page = markdown()
    for metric in REGISTRY.values():
        assert f"({anchor_of(metric.name)})=" in page and metric.definition in page
        for word in metric.reference.replace(";", " ").split():
            if word.startswith("docs/metrics.md#"):
                assert word.removeprefix("docs/metrics.md#") in SHARED, metric.name
            assert not word.startswith("metrics.md")
    anchors = [line for line in page.splitlines() if line.startswith("(") and line.endswith(")=")]
    assert len(anchors) == len(set(anchors))


def test_citations_in_the_code_lead_to_the_page():
    for path in (Path(__file__).parents[1] / "src").rglob("*.py"):
        for part in path.read_text().split("docs/metrics.md#")[1:]:
            anchor = "".join(c for c in part.split()[0] if c.isalnum() or c == "-" or c == "{").rstrip("-.")
            if anchor and not anchor.startswith("{"):
                assert anchor in SHARED, (path, anchor)
