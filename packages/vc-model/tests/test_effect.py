import numpy as np
import pytest
import scipy.sparse as sp
from vc_model.table.effect import combine
from vc_model.table.effects import Action, Conditions

RNG = np.random.default_rng(0)
BASES = RNG.standard_normal((7, 30)).astype(np.float32), RNG.standard_normal((9, 30)).astype(np.float32)


def ask(n):
    return Conditions(np.array(["A"] * n), (Action(()), *(Action((f"G{i}",), 0) for i in range(n - 1))))


def weights(n, sparse):
    dense = RNG.standard_normal((n, 7)).astype(np.float32)
    few = np.where(RNG.random((n, 9)) < 0.2, RNG.standard_normal((n, 9)), 0).astype(np.float32)
    return dense, sp.csr_array(few) if sparse else few, few


@pytest.mark.parametrize("n", [4, 40])
@pytest.mark.parametrize("sparse", [False, True])
def test_sums_are_those_of_whole_products(n, sparse):
    conditions = ask(n)
    acts = (conditions.sizes > 0)[:, None]
    factor = RNG.random(n).astype(np.float32)
    effects, expected = [], []
    for _ in range(2):
        dense, some, few = weights(n, sparse)
        effects.append([(dense, BASES[0]), (some, BASES[1]), (dense, BASES[0])])
        expected.append(acts * (2 * dense @ BASES[0] + few @ BASES[1]))
    total = combine([(1.0, effects[0]), (factor, effects[1])], conditions)
    np.testing.assert_allclose(total, expected[0] + factor[:, None] * expected[1], atol=1e-4)
