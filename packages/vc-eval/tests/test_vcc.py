import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vc_eval.metrics import challenge2025 as vcc
from vc_eval.rank.de import DeTable


def table(significant, lfc):
    significant, lfc = np.atleast_2d(np.array(significant, bool)), np.atleast_2d(np.array(lfc, float))
    q = np.where(significant, 0.01, 0.5)
    return DeTable(u_pg=q, p_value_pg=q, q_value_pg=q, lfc_pg=lfc, mean_pg=q, control_mean_g=q[0])


def des(real, predicted):
    return tuple(float(x[0]) for x in vcc.differential_expression_score(real, predicted))


def test_des_keeps_the_k_strongest_calls():
    real = table([1, 1, 0, 0, 0], [2, -1, 0, 0, 0])
    # Three calls, k = 2: genes 2 (|lfc| 5) and 1 (|lfc| 4) stay, gene 0 is cut; 1 of 2 is right.
    predicted = table([1, 1, 1, 0, 0], [1, 4, -5, 9, 9])
    assert des(real, predicted) == (0.5, 0.5, 0.5)


def test_des_divides_by_k_when_fewer_are_called():
    real = table([1, 1, 1, 1], [1, 2, 3, 4])
    assert des(real, table([1, 0, 0, 0], [-9, 0, 0, 0]))[0] == 0.25  # the sign is not checked


@pytest.mark.parametrize(("real", "predicted"), [([0, 0], [1, 1]), ([1, 1], [0, 0]), ([0, 0], [0, 0])])
def test_des_without_de_genes_is_zero(real, predicted):
    assert des(table(real, [1, 2]), table(predicted, [1, 2])) == (0.0, 0.0, 0.0)


def test_des_of_the_truth_is_one_whatever_ties():
    real = table([1, 1, 1, 0], [np.inf, -np.inf, np.inf, 1])
    assert des(real, real) == (1.0, 1.0, 1.0)


def test_des_ranks_infinite_fold_changes_first():
    real = table([1, 0, 0], [1, 0, 0])
    assert des(real, table([1, 1, 0], [5, -np.inf, 0]))[0] == 0.0


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from([1.0, 2.0, np.inf])), min_size=2, max_size=6))
def test_des_interval_is_the_range_over_all_tie_orders(genes):
    real_sig, called, size = (np.array(x) for x in zip(*genes, strict=True))
    real, predicted = table(real_sig, np.ones(len(genes))), table(called, size)
    value, lower, upper = des(real, predicted)
    k = int(real_sig.sum())
    if k == 0 or not called.any():
        assert (value, lower, upper) == (0.0, 0.0, 0.0)
        return
    calls = np.flatnonzero(called)
    possible = set()
    for order in itertools.permutations(calls):
        ranked = sorted(order, key=lambda g: -size[g])  # stable: ties keep the order of this permutation
        possible.add(sum(real_sig[g] for g in ranked[:k]) / k)
    assert (lower, upper) == (min(possible), max(possible))
    assert value == sum(real_sig[g] for g in sorted(calls, key=lambda g: (-size[g], g))[:k]) / k


def test_des_order_is_decided_in_float32():
    real = table([1, 0], [1, 1])
    near = 1.0 + 1e-9  # equal to 1 in float32, so gene order decides and the interval is open
    assert des(real, table([1, 1], [1.0, near])) == (1.0, 0.0, 1.0)


def test_pds_by_hand():
    real = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    predicted = np.array([[0.1, 0.0], [4.0, 0.0], [2.0, 0.0]])
    # Ranks of the own delta: 0; 5 is nearer to 4 than 1 is: 1; nearest to 2 is 1, then 0, then 5: 2.
    result = vcc.perturbation_discrimination_score(predicted, real, np.full(3, -1))
    np.testing.assert_allclose(result.midrank, [1, 1 - 1 / 3, 1 - 2 / 3])


def test_pds_leaves_the_target_gene_out_of_its_own_row():
    real = np.array([[0.0, 1.0], [0.0, 3.0]])
    predicted = np.array([[0.0, 3.0], [0.0, 3.0]])
    np.testing.assert_array_equal(
        vcc.perturbation_discrimination_score(predicted, real, np.array([-1, -1])).midrank, [0.5, 1]
    )
    left_out = vcc.perturbation_discrimination_score(predicted, real, np.array([1, -1]))
    assert (left_out.optimistic[0], left_out.midrank[0], left_out.pessimistic[0]) == (1.0, 0.75, 0.5)


def test_pds_of_one_prediction_for_all_averages_chance():
    rng = np.random.default_rng(0)
    n = 40
    scores = [
        vcc.perturbation_discrimination_score(
            np.tile(rng.normal(size=50), (n, 1)), rng.normal(size=(n, 50)), np.full(n, -1)
        ).midrank
        for _ in range(5)
    ]
    np.testing.assert_allclose([s.mean() for s in scores], 0.5 + 1 / (2 * n))


def test_pds_equals_the_definition_gene_by_gene():
    rng = np.random.default_rng(1)
    real, predicted, target = rng.normal(size=(9, 12)), rng.normal(size=(9, 12)), rng.integers(-1, 12, 9)
    for p in range(9):
        kept = np.arange(12) != target[p]
        d = np.abs(predicted[p, kept] - real[:, kept]).sum(1)
        expected = 1 - (d < d[p]).sum() / 9
        assert vcc.perturbation_discrimination_score(predicted, real, target).midrank[p] == pytest.approx(expected)


def test_mae_is_over_all_genes():
    np.testing.assert_allclose(vcc.mean_absolute_error(np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]])), [1.5])


def test_mean_baseline_counts_the_control_as_one_label():
    np.testing.assert_allclose(vcc.mean_baseline(np.array([[0.0, 3.0], [1.0, 0.0], [2.0, 0.0]])), [1.0, 1.0])


def test_scaled_scores():
    assert vcc.scaled_score(0.3, 0.3, 1) == 0  # user = baseline
    assert vcc.scaled_score(0.02, 0.04, 0) == 0.5
    assert vcc.scaled_score(0.1, 0.04, 0) == 0  # worse than the baseline is clipped
    assert vcc.scaled_score(-0.04, 0.04, 0) == 2  # no upper clip
    assert vcc.scaled_score(1.0, 0.5, 1) == 1
    assert vcc.scaled_score(np.nan, 0.5, 1) == 0
    assert vcc.scaled_score(1.0, 1.0, 1) == 0  # 0/0
    assert vcc.scaled_score(0.5, 1.0, 1) == 0  # -inf
    assert vcc.overall_score(0.3, 0.6, 0.0) == pytest.approx(0.3)
