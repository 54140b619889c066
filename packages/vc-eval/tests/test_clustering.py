"""Clusters of perturbations against sklearn and known groups."""

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from vc_eval.metrics import clustering


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=40))
def test_adjusted_mutual_information_equals_sklearn(pairs):
    a, b = (np.array(x) for x in zip(*pairs, strict=True))
    expected = sklearn.metrics.adjusted_mutual_info_score(a, b)
    assert clustering.adjusted_mutual_information(a, b) == pytest.approx(expected, abs=1e-9)


def test_groups_are_found_and_the_same_groups_agree():
    pytest.importorskip("igraph")
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(4), 12)
    centre = 6 * rng.normal(size=(4, 20))
    real, same = (centre[label] + rng.normal(size=(48, 20)) for _ in range(2))
    assert clustering.adjusted_mutual_information(clustering.leiden(real, 1.0), label) > 0.9
    assert clustering.clustering_agreement(same, real) > 0.9
    assert clustering.clustering_agreement(rng.normal(size=(48, 20)), real) < 0.3
    assert clustering.clustering_agreement(same, real, seed=3) == clustering.clustering_agreement(same, real, seed=3)
    assert np.isnan(clustering.clustering_agreement(real[:2], real[:2]))


def test_the_graph_ties_each_profile_to_its_neighbours():
    line = np.arange(30.0)[:, None] + 0.01 * np.random.default_rng(1).normal(size=(30, 1))
    i, j, weight = clustering.neighbour_graph(line)
    assert (np.abs(i - j) < 15).all()
    assert ((weight > 0) & (weight <= 1)).all()
    assert weight[np.abs(i - j) == 1].min() > weight[np.abs(i - j) > 8].max()
