"""The tables of docs/contracts are those of the schemas."""

from pathlib import Path

import pytest
from vc_contracts import SCHEMAS
from vc_contracts.pages import render

PAGES_DPATH = Path(__file__).resolve().parents[2] / "docs" / "contracts"


@pytest.mark.parametrize("name", SCHEMAS)
def test_page_is_what_the_schema_makes(name):
    page = (PAGES_DPATH / f"{name}-v1.md").read_text()
    do = "run `python -m vc_contracts.pages docs/contracts`"
    assert render(page, SCHEMAS[name]) == page, do
