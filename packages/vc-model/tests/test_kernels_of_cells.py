"""Laws of the kernels that draw cells, against scipy's."""

import numpy as np
import pytest
from scipy import stats
from vc_model.emit.drawn import Drawn
from vc_model.emit.kernels import scale_genes

N = 40_000


def one_gene(count, total, dispersion, share):
    return Drawn(
        np.full((1, N), count, np.int32), np.full(N, float(total)), np.array([1 / dispersion]), np.array([share])
    )


def law(count, total, dispersion, share, times):
    """Counts at `times` the rate of a cell: negative binomial of shape c + a and scale times theta."""
    shape = count + 1 / dispersion
    scale = times * total / (total + 1 / dispersion / share)
    return stats.nbinom(shape, 1 / (1 + scale))


@pytest.mark.parametrize(
    ("count", "share", "factor"), [(0, 1e-4, 1.7), (2, 1e-3, 3.0), (40, 5e-3, 2.5), (1, 1e-3, 200.0)]
)
def test_added_counts_follow_the_negative_binomial(count, share, factor):
    cells = one_gene(count, 8000, 0.4, share)
    added = cells.scaled(np.array([factor]), np.uint64(3))[0] - count
    expected = law(count, 8000, 0.4, share, factor - 1)
    assert stats.kstest(added, expected.cdf).statistic < 0.01 + expected.pmf(expected.median())
    assert added.mean() == pytest.approx(expected.mean(), abs=5 * expected.std() / N**0.5)
    assert added.var() == pytest.approx(expected.var(), rel=0.06)


@pytest.mark.parametrize("count", [0, 1, 7, 60])
def test_thinned_counts_are_binomial(count):
    kept = one_gene(count, 8000, 0.4, 1e-3).scaled(np.array([0.3]), np.uint64(5))[0]
    shown = np.bincount(kept, minlength=count + 1) / N
    np.testing.assert_allclose(shown, stats.binom(count, 0.3).pmf(np.arange(count + 1)), atol=0.01)


@pytest.mark.parametrize("dispersion", [0.0, 0.5, 1.0, 2.0])
def test_cells_counted_anew_have_the_rate_of_the_cell_and_the_dispersion_asked_for(dispersion):
    count, total, share = 9, 8000, 1e-3
    again = one_gene(count, total, 0.4, share).redrawn(dispersion, np.uint64(7)).count_gm[0]
    shape, theta, expected = count + 2.5, total / (total + 2.5 / share), total * share
    rate = expected + dispersion**0.5 * (shape * theta - expected)
    assert again.mean() == pytest.approx(rate, rel=0.02)
    assert again.var() == pytest.approx(rate + dispersion * shape * theta**2, rel=0.05)


def test_results_depend_on_neither_blocks_nor_threads():
    rng = np.random.default_rng(0)
    count = rng.poisson(rng.gamma(0.3, 20, (600, 1)), (600, 50)).astype(np.int32)
    cells = Drawn(count, count.sum(axis=0) + 10.0, np.full(600, 2.0), np.full(600, 1 / 600))
    factor, one = np.exp(rng.standard_normal(600)), np.empty_like(count)
    scale_genes(count, cells.total_m, cells.shape_g, cells.share_g, factor, np.uint64(1), 0, 600, one)
    np.testing.assert_array_equal(one, cells.scaled(factor, np.uint64(1)))
