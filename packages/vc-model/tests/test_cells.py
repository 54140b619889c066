import numpy as np
import pytest
from vc_model.emit.cells import draw_cells, make_source
from vc_model.errors import TableError

N_GENES, N_CELLS = 120, 300


def log(count, total):
    return np.log1p(1e4 * count / total[:, None])


def energy_distance(x, y):
    def mean(a, b):
        return np.sqrt(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0)).mean()

    # Without the zero distances of cells to themselves, so that equal laws give 0 on average.
    own = sum(mean(z, z) * len(z) / (len(z) - 1) for z in (x, y)) / 2
    return mean(x, y) - own


@pytest.fixture(scope="module")
def world():
    """Gamma-Poisson cells of a line, unperturbed and perturbed, and the cells drawn for the perturbed mean."""
    rng = np.random.default_rng(0)
    share = rng.gamma(0.4, 1, N_GENES)
    share /= share.sum() * 1.3  # a part of the depth lies outside the table
    factor = np.exp(0.8 * rng.standard_normal(N_GENES) * (rng.random(N_GENES) < 0.5))
    shape = 1 / rng.uniform(0.1, 0.8, N_GENES)

    def cells(mean_share, n):
        depth = rng.lognormal(7, 0.3, n)
        count = rng.poisson(rng.gamma(shape, 1 / shape, (n, N_GENES)) * mean_share * depth[:, None])
        return count, count.sum(axis=1) + rng.poisson(0.3 * depth)

    control, real = cells(share, N_CELLS), cells(share * factor, N_CELLS)
    source = make_source(*control)
    profile = log(*cells(share * factor, 5000)).mean(axis=0)
    return control, real, source, profile, draw_cells(source, profile, N_CELLS, np.random.default_rng(1))


def test_the_mean_is_the_prediction(world):
    *_, profile, (count, total) = world
    assert count.dtype == np.int32
    assert count.min() >= 0
    assert (total >= count.sum(axis=1)).all()
    np.testing.assert_allclose(log(count, total).mean(axis=0), profile, atol=0.01)


def test_zeros_depth_and_variance_are_those_of_real_cells(world):
    _, real, _, _, drawn = world
    assert np.abs((drawn[0] == 0).mean(axis=0) - (real[0] == 0).mean(axis=0)).mean() < 0.03
    assert np.median(drawn[1]) == pytest.approx(np.median(real[1]), rel=0.1)
    shown = real[0].mean(axis=0) > 0.1
    ratio = log(*drawn).var(axis=0)[shown] / log(*real).var(axis=0)[shown]
    assert np.median(ratio) == pytest.approx(1, abs=0.1)
    assert (np.abs(np.log(ratio)) < 0.7).mean() > 0.95


def test_cells_are_closer_to_real_ones_than_shifted_controls_or_gaussian_noise(world):
    control, real, _, profile, drawn = world
    target, start = log(*real), log(*control)
    rng = np.random.default_rng(2)
    shifted = start + profile - start.mean(axis=0)
    gaussian = profile + start.std(axis=0) * rng.standard_normal(start.shape)
    own = energy_distance(log(*drawn), target)
    assert own < 0.5 * energy_distance(shifted, target)
    assert own < 0.5 * energy_distance(gaussian, target)
    assert own < energy_distance(start, target)


def test_genes_may_be_switched_on_and_off(world):
    _, _, source, profile, _ = world
    silent = np.array(source.count_ng)
    silent[:, 0] = 0
    goal = profile.copy()
    goal[0], goal[1] = 0.5, 0.0
    count, total = draw_cells(make_source(silent, source.total_n), goal, 50, np.random.default_rng(0))
    assert log(count, total)[:, 0].mean() == pytest.approx(0.5, abs=0.05)
    assert not count[:, 1].any()


def test_the_same_seed_gives_the_same_cells(world):
    _, _, source, profile, (count, _) = world
    np.testing.assert_array_equal(draw_cells(source, profile, N_CELLS, np.random.default_rng(1))[0], count)


@pytest.mark.parametrize(("count", "total"), [([[0.5]], [3]), ([[4]], [3]), ([[-1]], [3]), (np.zeros((0, 1)), [])])
def test_what_is_no_count_is_refused(count, total):
    with pytest.raises(TableError, match="Control cells"):
        make_source(np.array(count), np.array(total))
