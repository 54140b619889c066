from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from vc_model.anchored.dose import DoseGate, fit_dose
from vc_model.table.effects import MODES, Action, Conditions
from vc_model.table.folds import BINS, OutOfFold
from vc_model.testing import make_world

DOSES = (0.1, 1.0, 10.0)
finite = st.floats(-5, 5)


def conditions(doses, mode=4):
    return Conditions(np.array(["A"] * len(doses)), tuple(Action(("drug",), mode, dose) for dose in doses))


@given(
    st.lists(st.floats(0.001, 1e5), min_size=2, max_size=8), finite, st.floats(0, 5), st.floats(0.1, 3), st.floats(0, 1)
)
def test_more_dose_never_means_less_effect_and_genes_have_no_dose(doses, offset, slope, scale, share):
    ones = np.ones(len(MODES))
    gate = DoseGate(offset * ones, slope * ones, scale * ones, share * ones)
    factor = gate.factor(conditions(sorted(doses)))
    assert (np.diff(factor) >= -1e-6).all() and (factor >= 0).all()
    np.testing.assert_array_equal(gate.factor(conditions([0.0], mode=0)), 1)


def series(truth_factor, seed=0):
    """Twenty compounds at three doses whose effects follow a curve; the guess does not know the dose."""
    rng = np.random.default_rng(seed)
    names, dose_p = np.repeat([f"d{i}" for i in range(20)], 3), np.tile(DOSES, 20)
    full_pg = np.repeat(rng.standard_normal((20, 30)), 3, axis=0).astype(np.float32)
    table = make_world(n_train=60, n_genes=30, features="none").train
    actions = tuple(Action((name,), 4, dose) for name, dose in zip(names, dose_p, strict=True))
    effect = (truth_factor(dose_p)[:, None] * full_pg + 0.05 * rng.standard_normal(full_pg.shape)).astype(np.float32)
    table = replace(table, conditions=Conditions(np.full(60, "A"), actions), delta_pg=effect, check_pg=effect)
    oof = OutOfFold(np.arange(60), np.full(60, BINS.index("transfer")), {})
    return table, oof, 0.5 * full_pg


def test_the_curve_is_found():
    table, oof, guess = series(lambda dose: expit(-2 + 1.5 * np.log1p(dose)))
    gate = fit_dose(table, oof, guess, np.ones(60))
    factor = gate.factor(conditions(DOSES))
    assert factor * 0.5 == pytest.approx(expit(-2 + 1.5 * np.log1p(DOSES)), abs=0.06)


def test_without_a_dose_response_or_without_doses_nothing_is_gated():
    table, oof, guess = series(lambda dose: np.full(len(dose), 0.5))
    assert fit_dose(table, oof, guess, np.ones(60)) is None
    genetic = make_world(n_train=60, n_genes=30, features="none").train
    assert fit_dose(genetic, oof, guess, np.ones(60)) is None
