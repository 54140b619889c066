import numpy as np
import pytest
from vc_model.errors import VcModelError
from vc_model.models import MODELS, describe, fit_models, make_model
from vc_model.testing import make_world


def test_fitting_together_is_fitting_one_by_one():
    world = make_world(n_train=30, n_test=8, n_genes=40, n_combos=10)
    names = ["kernel_ridge", "anchored", "random"]
    together = fit_models(world.train, names, seed=2)
    assert list(together) == names
    for name in names:
        alone = make_model(name, 2).fit(world.train).predict(world.test)
        shared = together[name].predict(world.test)
        np.testing.assert_array_equal(shared.delta_pg, alone.delta_pg)
        np.testing.assert_array_equal(shared.var_pg, alone.var_pg)


def test_every_model_has_one_line_that_defines_it():
    lines = {name: describe(name) for name in MODELS}
    assert {"anchored", "mean_effect", "additive", "lowrank_ridge", "pls"} <= set(lines)
    assert all(20 > len(line) > 5 or line.endswith(".") for line in lines.values())
    assert len(set(lines.values())) == len(lines)


def test_an_unknown_model_is_refused():
    with pytest.raises(VcModelError, match="oracle"):
        make_model("oracle")
