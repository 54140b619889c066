from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from vc_eval.errors import VcEvalError
from vc_eval.rank import de, kernels

# Few distinct values make heavy ties; zeros, negatives and fractions are all among them.
VALUES = st.sampled_from([0.0, 0.0, 0.0, 1.0, 1.0, 2.5, 7.25, -1.5, -3.0, 1e-9])


def reference(group, control):
    result = scipy.stats.mannwhitneyu(group, control, alternative="two-sided", method="asymptotic", use_continuity=True)
    return result.statistic, np.where(np.isnan(result.pvalue), 1.0, result.pvalue)


@st.composite
def groups_and_controls(draw):
    n_genes = draw(st.integers(1, 5))
    groups = [
        draw(hnp.arrays(np.float64, (draw(st.integers(1, 9)), n_genes), elements=VALUES))
        for _ in range(draw(st.integers(1, 3)))
    ]
    return groups, draw(hnp.arrays(np.float64, (draw(st.integers(1, 12)), n_genes), elements=VALUES))


@settings(deadline=None)
@given(groups_and_controls())
def test_equals_scipy_on_ties_zeros_negatives_and_single_cells(data):
    groups, control = data
    labels = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    table = de.test_groups(np.vstack(groups), labels, len(groups), de.sort_control(control))
    for p, group in enumerate(groups):
        u, p_value = reference(group, control)
        np.testing.assert_array_equal(table.u_pg[p], u)
        np.testing.assert_allclose(table.p_value_pg[p], p_value, rtol=1e-12)
        expected_q = scipy.stats.false_discovery_control(np.clip(p_value, 0, 1))
        np.testing.assert_allclose(table.q_value_pg[p], expected_q, rtol=1e-12)
        np.testing.assert_allclose(table.mean_pg[p], group.mean(0), atol=1e-12)


def sparse_cells(seed=0, n=300, n_genes=150):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.5, 1.0, n_genes), (n, n_genes))
    return np.log1p(counts * rng.uniform(0.5, 2, (n, 1))), rng.integers(0, 4, n)


def test_equals_scipy_on_continuous_sparse_expression():
    cells, labels = sparse_cells()
    control, _ = sparse_cells(1)
    table = de.test_groups(cells, labels, 4, de.sort_control(control))
    for p in range(4):
        u, p_value = reference(cells[labels == p], control)
        np.testing.assert_array_equal(table.u_pg[p], u)
        np.testing.assert_allclose(table.p_value_pg[p], p_value, rtol=1e-12)
        np.testing.assert_allclose(table.q_value_pg[p], scipy.stats.false_discovery_control(p_value), rtol=1e-12)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "layout", [np.asarray, scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_array]
)
def test_bits_do_not_depend_on_threads_layout_or_cell_order(threads, layout):
    cells, labels = sparse_cells()
    control, _ = sparse_cells(1)
    expected = de.test_groups(cells, labels, 4, de.sort_control(control))
    order = np.random.default_rng(3).permutation(len(cells))
    sorted_control = de.sort_control(layout(control[::-1]), n_threads=threads)
    found = de.test_groups(layout(cells[order]), labels[order], 4, sorted_control, n_threads=threads)
    for name in ("u_pg", "p_value_pg", "q_value_pg", "lfc_pg", "mean_pg", "control_mean_g"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def test_bits_do_not_depend_on_block_size(monkeypatch):
    cells, labels = sparse_cells()
    expected = de.test_groups(cells, labels, 4, de.sort_control(cells))
    monkeypatch.setattr(kernels, "BLOCK", 7)
    found = de.test_groups(cells, labels, 4, de.sort_control(cells))
    np.testing.assert_array_equal(found.p_value_pg, expected.p_value_pg)


def test_stored_zeros_and_ignored_cells_change_nothing():
    cells, labels = sparse_cells()
    control = de.sort_control(cells)
    stored = scipy.sparse.csr_array(np.where(cells == 0, 1.0, cells))
    stored.data[(cells == 0).ravel()] = 0.0
    kept = labels != 2
    expected = de.test_groups(cells[kept & (labels < 2)], labels[kept & (labels < 2)], 2, control)
    found = de.test_groups(stored, np.where(labels < 2, labels, -1), 2, control)
    np.testing.assert_array_equal(found.p_value_pg, expected.p_value_pg)


def test_gene_that_is_zero_everywhere_or_constant_is_not_significant():
    table = de.test_groups(np.array([[0.0, 3.0]] * 5), np.zeros(5, int), 1, de.sort_control(np.array([[0.0, 3.0]] * 8)))
    np.testing.assert_array_equal(table.u_pg, [[20.0, 20.0]])  # m n / 2
    np.testing.assert_array_equal(table.p_value_pg, [[1.0, 1.0]])
    np.testing.assert_array_equal(table.lfc_pg, [[0.0, 0.0]])


def test_fold_change_is_the_log2_ratio_of_expm1_of_mean_logs():
    mean, control = np.array([[np.log1p(3.0), 1.0, 0.0, 0.0]]), np.array([np.log1p(1.0), 0.0, 1.0, 0.0])
    np.testing.assert_allclose(de.log_fold_change(mean, control), [[np.log2(3), np.inf, -np.inf, 0.0]])
    assert np.isfinite(de.log_fold_change(mean, control, epsilon=1e-9)).all()


@settings(deadline=None)
@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 30)), elements=st.floats(0, 1)))
def test_benjamini_hochberg_equals_scipy_row_by_row(p_values):
    expected = np.vstack([scipy.stats.false_discovery_control(row) for row in p_values])
    np.testing.assert_allclose(de.benjamini_hochberg(p_values), expected, rtol=1e-12)


def test_significance_is_decided_in_float32():
    table = de.DeTable(
        **dict.fromkeys(("u_pg", "p_value_pg", "lfc_pg", "mean_pg", "control_mean_g"), np.zeros((1, 2))),
        q_value_pg=np.array([[0.05 - 1e-12, 0.04999]]),
    )
    assert table.significant_pg.tolist() == [[False, True]]


def test_moments_equal_numpy():
    cells, labels = sparse_cells()
    means, squares, sizes = de.group_moments(cells, np.where(labels == 3, -1, labels), 3)
    for p in range(3):
        group = cells[labels == p]
        np.testing.assert_allclose(means[p], group.mean(0), rtol=1e-12)
        np.testing.assert_allclose(squares[p], group.var(0) * len(group), rtol=1e-9, atol=1e-12)
        assert sizes[p] == len(group)


@pytest.mark.parametrize(
    ("cells", "labels", "n_groups", "message"),
    [
        (np.array([[np.nan, 1.0]]), [0], 1, "not finite"),
        (np.ones((2, 3)), [0, 0], 1, "3 genes"),
        (np.ones((2, 2)), [0, 0], 2, "1 of 2 groups hold no cell"),
    ],
)
def test_refuses(cells, labels, n_groups, message):
    control = de.sort_control(np.ones((3, 2)))
    with pytest.raises(VcEvalError, match=message):
        de.test_groups(cells, np.array(labels), n_groups, control)
    with pytest.raises(VcEvalError, match="no cell"):
        de.sort_control(np.ones((0, 2)))


def test_equals_scipy_on_real_counts():
    path = next(
        (
            p / "shared/data/single_cell/norman2019_k562_crispra_500g.h5ad"
            for p in Path(__file__).parents
            if (p / "shared/data").is_dir()
        ),
        None,
    )
    if path is None:
        pytest.skip("shared/data is not beside the workspace")
    import anndata

    adata = anndata.read_h5ad(path)
    label = adata.obs["perturbation"].astype(str).to_numpy()
    cells = scipy.sparse.csr_array(adata.X).astype(np.float64)
    cells.data = np.log1p(cells.data / np.repeat(cells.sum(axis=1), np.diff(cells.indptr)) * 1e4)
    names = sorted(set(label) - {"control"})[:6]
    codes = np.array([names.index(x) if x in names else -1 for x in label])
    table = de.test_groups(cells, codes, len(names), de.sort_control(cells[label == "control"]))
    dense = cells.toarray()
    for p in range(len(names)):
        u, p_value = reference(dense[codes == p], dense[label == "control"])
        np.testing.assert_array_equal(table.u_pg[p], u)
        np.testing.assert_allclose(table.p_value_pg[p], p_value, rtol=1e-12)
    assert table.significant_pg.any()
