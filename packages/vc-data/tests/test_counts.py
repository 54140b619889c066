from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
import vc_data.convert.counts
import vc_data.convert.source
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from vc_data.convert.counts import Spool, check_counts, merge_columns
from vc_data.convert.formats import open_source
from vc_data.errors import CountsError
from vc_data.testing import make_foreign, write_foreign


@settings(deadline=None)
@given(st.data())
def test_merging_columns_equals_the_dense_loop(data):
    counts = data.draw(arrays(np.uint32, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.integers(0, 4)))
    n_columns = data.draw(st.integers(1, 5))
    target = data.draw(arrays(np.int64, counts.shape[1], elements=st.integers(-1, n_columns - 1)))
    how = data.draw(st.sampled_from(["sum", "max"]))
    expected = np.zeros((len(counts), n_columns), np.int64)
    for column, place in enumerate(target):
        if place >= 0:
            merge = np.add if how == "sum" else np.maximum
            expected[:, place] = merge(expected[:, place], counts[:, column])
    merged = merge_columns(sp.csr_matrix(counts), target, n_columns, how=how)
    assert (merged.toarray() == expected).all()
    assert merged.has_sorted_indices and merged.nnz == (expected > 0).sum()


@pytest.mark.parametrize("matrix", ["csr", "csc", "dense"])
@pytest.mark.parametrize("elements", [1, 37, 1 << 20])
def test_spooled_rows_come_back_in_any_order(tmp_path, monkeypatch, matrix, elements):
    monkeypatch.setattr(vc_data.convert.source, "BLOCK_ELEMENTS", elements)
    monkeypatch.setattr(vc_data.convert.counts, "RANGE_ELEMENTS", elements)
    adata = make_foreign()
    write_foreign(adata, tmp_path / "a.h5ad", matrix=matrix)
    with open_source(tmp_path / "a.h5ad") as source:
        spool = Spool(tmp_path, *source.matrix().shape)
        spool.fill(source.matrix(), obs_names=adata.obs_names, var_names=adata.var_names)
    order = np.random.default_rng(0).permutation(adata.n_obs)[:50]
    rows = spool.rows(order)
    assert (rows.toarray() == adata.X[order]).all() and rows.has_sorted_indices
    assert (spool.totals_n == adata.X.sum(axis=1)).all() and (spool.max_g == adata.X.max(axis=0)).all()
    assert spool.rows(np.array([], int)).shape == (0, adata.n_vars)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1.5, "fractional value 1.5 in cell 'c2', gene 'g1'"),
        (-1.0, "negative value -1.0"),
        (np.nan, "not finite"),
        (np.inf, "not finite"),
        (2.0**33, "above 2^32"),
    ],
)
def test_values_that_are_no_counts_are_refused_with_their_place(value, words):
    block = sp.csr_matrix(np.array([[0, 0, 1.0], [0, 0, 0], [2, value, 0]]))
    matrix = SimpleNamespace(path="f.h5ad", name="X")
    with pytest.raises(CountsError) as caught:
        check_counts(block, matrix, ["c0", "c1", "c2"], ["g0", "g1", "g2"], hint=lambda: "Look elsewhere.")
    for word in ("f.h5ad", "X", "raw counts", words, "Look elsewhere."):
        assert word in str(caught.value)


def test_large_whole_numbers_pass():
    block = sp.csr_matrix(np.array([[2.0**32 - 1, 1.0]]))
    assert check_counts(block, SimpleNamespace(path="f", name="X"), ["c"], ["a", "b"]) is None
