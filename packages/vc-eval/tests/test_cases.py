"""Small files in the shape of public bug reports (`shared/cases`): what concerns scores and the challenges' lists."""

import os
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest
from vc_eval.cells import inputs, rules
from vc_eval.cells.settings import Settings
from vc_eval.cells.states import notes_of
from vc_eval.errors import VcEvalError
from vc_eval.vcc2025.archive import read_gene_list
from vc_eval.vcc2026.archive import read_rules

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no folder shared/cases beside the workspace")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    out = tmp_path_factory.mktemp("cases")
    program = "import runpy, sys\nfor path in sys.argv[1:]:\n    runpy.run_path(path)"
    scripts = [str(FOLDER / f"make_{number}.py") for number in ("11", "20")]
    environment = {**os.environ, "CASES_OUT": str(out), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(FOLDER)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *scripts], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return out


@pytest.fixture
def score(cases):
    def run(pred, real="real", **options):
        sides = [inputs.open_cells(cases / f"11_{name}.h5ad") for name in (pred, real)]
        return rules.score_pair(*sides, settings=Settings(controls=False, **options))

    return run


def said(result):
    return "\n".join(notes_of("mine", result.provenance))


def values(result):
    return result.per_perturbation.sort_values(["perturbation", "metric"])["value"].to_numpy()


@pytest.mark.parametrize(
    ("name", "words"),
    [("twisted", "differ from the real ones"), ("swapped", "nearer to the real cells of 'TP53'"),
     ("mirror", "signs were turned")],
)  # fmt: skip
def test_11_controls_of_another_state_are_noted(score, name, words):
    assert words in said(score(name)) and words not in said(score("pred"))


@pytest.mark.parametrize(
    ("pred", "real", "words"),
    [("mixedscale", "shallow_real", "genes hold whole numbers only"), ("mixedcells", "shallow_real", "cells hold whole numbers"),
     ("soup_pred", "soup_real", "values have fractions")],
)  # fmt: skip
def test_11_mixed_scales_and_fractional_counts_are_noted(score, pred, real, words):
    assert words in said(score(pred, real))


def test_11_narrow_types_give_the_same_scores(score):
    np.testing.assert_array_equal(values(score("dup8_pred", "real_counts")), values(score("dup8_same", "real_counts")))
    for kind in ("f16", "f16d"):
        close = values(score(f"{kind}_pred", f"{kind}_real"))
        np.testing.assert_allclose(close, values(score("pred")), atol=0.05)


def test_11_cells_without_a_context_are_no_context(score):
    with pytest.raises(VcEvalError, match="no label at 10 cells"):
        score("ctx_pred", "ctx_real", context_col="context")


def test_20_lists_of_the_challenges_are_read_alike(cases):
    genes = anndata.read_h5ad(cases / "20_pred.h5ad").var_names.tolist()
    for name in ("plain", "bom", "header", "crlf", "index", "space", "utf16"):
        path = cases / f"20_{name}.csv"
        assert read_gene_list(path) == genes, name
        assert list(read_rules(path, cases / "20_perts.csv")[0].genes) == genes, name
    one, other = (read_rules(cases / "20_plain.csv", cases / f"20_{name}.csv")[0] for name in ("perts", "perts_float"))
    assert one.perturbations == other.perturbations
    with pytest.raises(VcEvalError, match="twice, with 30 and 31 cells"):
        read_rules(cases / "20_plain.csv", cases / "20_perts_dup.csv")
