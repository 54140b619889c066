"""A context given by its unperturbed cells alone."""

import numpy as np
import pytest
import scipy.sparse as sp
from vc_model.ask.controls import make_contexts
from vc_model.ask.questions import QuestionError


def cells(like, n=60, seed=0):
    rng = np.random.default_rng(seed)
    return sp.csr_matrix(rng.poisson(np.expm1(like.input_cg[0]) + 0.2, (n, len(like.genes))).astype(np.float32))


def test_new_cells_can_be_asked_about(model):
    like = model.fitted.contexts
    order = np.random.default_rng(1).permutation(len(like.genes))
    contexts, notes = make_contexts(
        "mine", cells(like)[:, order], np.array(like.genes)[order], np.full(60, "mine"), like
    )
    same, _ = make_contexts("mine", cells(like), np.array(like.genes), np.full(60, "mine"), like)
    np.testing.assert_allclose(contexts.input_cg, same.input_cg, atol=1e-5)
    assert contexts.cell_lines == ("mine",) and "60 unperturbed cells" in notes[0]
    table = model.answers(model.questions(["G3"], contexts=contexts)).table
    assert (table["cell_line"], table["support"], table["new_context"]) == (["mine"], ["seen elsewhere"], [True])


def test_genes_that_are_not_measured_take_the_models_mean_and_it_is_said(model):
    like = model.fitted.contexts
    contexts, notes = make_contexts("mine", cells(like)[:, :40], np.array(like.genes[:40]), np.full(60, "mine"), like)
    np.testing.assert_allclose(contexts.input_cg[0, 40:], like.input_cg.mean(axis=0)[40:], rtol=1e-6)
    assert "20 of the model's 60 genes" in notes[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, genes: (x * 0.5, genes), "raw counts"),
        (lambda x, genes: (x, np.array([name.lower() for name in genes])), "another species"),
        (lambda x, genes: (x, np.array([f"P{at}" for at in range(len(genes))])), "at least half"),
        (lambda x, genes: (x[:5], genes), "at least 10"),
    ],
)
def test_cells_that_cannot_be_used_are_refused(model, change, words):
    like = model.fitted.contexts
    x_ng, genes = change(cells(like), np.array(like.genes))
    with pytest.raises(QuestionError, match=words):
        make_contexts("mine", sp.csr_matrix(x_ng), genes, np.full(x_ng.shape[0], "mine"), like)
