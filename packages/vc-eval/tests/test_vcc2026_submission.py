"""Each rule of a 2026 submission, broken on its own, gives its own code."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from vc_eval.vcc2026.submission import SubmissionError, SubmissionRules, check_submission, require_submission

RULES = SubmissionRules(
    genes=["A", "B", "C"],
    perturbations={"x": ["A", "B"], "y": {"A": 1}},
    cells_per_perturbation=2,
    max_cells=6,
    max_stored=14,
)


def submission(labels=("A", "A", "B", "B", "A"), contexts=("x", "x", "x", "x", "y"), genes=("A", "B", "C")):
    counts = np.full((len(labels), len(genes)), 3, np.float32)
    counts[0, 0] = 0
    obs = pd.DataFrame(
        {"target_gene": list(labels), "context": list(contexts)}, index=[f"c{i}" for i in range(len(labels))]
    )
    return anndata.AnnData(scipy.sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=list(genes)))


def broken(change):
    adata = submission()
    change(adata)
    return adata


def set_value(adata, value, rows=slice(None)):
    dense = adata.X.toarray()
    dense[rows] = value
    adata.X = scipy.sparse.csr_matrix(dense)


def test_a_sound_submission_passes_in_any_order_of_genes():
    assert check_submission(submission(), RULES) == []
    assert check_submission(submission(genes=("C", "A", "B")), RULES) == []
    require_submission(submission(), RULES)


@pytest.mark.parametrize(
    ("code", "adata"),
    [
        ("pointer_start", broken(lambda a: a.X.indptr.__setitem__(0, 1))),
        ("pointer_order", broken(lambda a: a.X.indptr.__setitem__(1, 9))),
        ("pointer_end", broken(lambda a: a.X.indptr.__setitem__(-1, 99))),
        ("pointer_length", broken(lambda a: setattr(a.X, "indptr", a.X.indptr[:-1]))),
        ("index_length", broken(lambda a: setattr(a.X, "indices", a.X.indices[:-1]))),
        ("index_range", broken(lambda a: a.X.indices.__setitem__(0, 7))),
        ("no_perturbation_column", broken(lambda a: a.obs.__delitem__("target_gene"))),
        ("no_context_column", broken(lambda a: a.obs.__delitem__("context"))),
        ("missing_label", broken(lambda a: a.obs.__setitem__("context", ["x", "x", "x", "x", None]))),
        ("control_cells", submission((*"AABB", "A", "non-targeting"), (*"xxxx", "y", "x"))),
        ("unknown_context", submission((*"AABB", "A", "A"), (*"xxxx", "y", "z"))),
        ("missing_context", submission("AABB", "xxxx")),
        ("missing_perturbation", submission("AAA", "xxy")),
        ("unknown_perturbation", submission("AABBAC", "xxxxyx")),
        ("cells_per_perturbation", submission("AABBBA", "xxxxxy")),
        ("missing_genes", submission(genes=("A", "B"))),
        ("unknown_genes", submission(genes=("A", "B", "C", "D"))),
        ("too_many_cells", submission("AABBAAA", "xxxxyyy")),
        ("too_many_stored", broken(lambda a: set_value(a, 1.0))),
        ("no_cells", submission()[:0].copy()),
        ("not_finite", broken(lambda a: set_value(a, np.inf, 0))),
        ("negative", broken(lambda a: set_value(a, -1, 0))),
        ("not_counts", broken(lambda a: set_value(a, 0.5, 0))),
        ("cell_total", broken(lambda a: set_value(a, 5e5, 0))),
        ("empty_perturbation", broken(lambda a: set_value(a, 0, 4))),
    ],
)
def test_each_broken_rule_has_its_own_code(code, adata):
    assert code in {violation.code for violation in check_submission(adata, RULES)}


def test_names_are_checked():
    twice = submission()
    twice.var_names = ["A", "A", "C"]
    assert {"duplicate_genes", "missing_genes"} <= {v.code for v in check_submission(twice, RULES)}
    listed_twice = SubmissionRules(
        genes=["A", "B", "C", "C"], perturbations=RULES.perturbations, cells_per_perturbation=2
    )
    assert [v.code for v in check_submission(submission(), listed_twice)] == ["gene_list_repeats"]
    with_type = SubmissionRules(
        genes=["A", "B", "C"], perturbations=RULES.perturbations, cells_per_perturbation=2, celltype_col="cell_type"
    )
    assert [v.code for v in check_submission(submission(), with_type)] == ["no_celltype_column"]


def test_a_total_of_exactly_the_limit_passes():
    at_limit = broken(lambda a: set_value(a, [400_000, 600_000, 0], 0))
    assert check_submission(at_limit, RULES) == []


def test_all_violations_are_raised_together():
    adata = submission("AABB", "xxxx", genes=("A", "B", "D"))
    with pytest.raises(SubmissionError, match=r"missing_context.*missing_genes.*unknown_genes") as caught:
        require_submission(adata, RULES)
    assert [v.code for v in caught.value.violations] == ["missing_context", "missing_genes", "unknown_genes"]
