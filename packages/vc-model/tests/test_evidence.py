"""Weights by evidence: the bank that carries the effects gets the weight, and unseen effects are predicted from it."""

import numpy as np
from vc_model.baselines.evidence import cosine_kernel, fit_evidence, predict_evidence, radial_kernel


def world(seed=0, n=90):
    rng = np.random.default_rng(seed)
    true, noise = rng.standard_normal((n, 6)), rng.standard_normal((n, 6))
    effects = true @ rng.standard_normal((6, 40)) + 0.5 * rng.standard_normal((n, 40))
    none = np.zeros(n, bool)
    return np.stack([cosine_kernel(true, none), cosine_kernel(noise, none)]), effects


def test_the_bank_behind_the_effects_gets_the_weight():
    kernels, effects = world()
    evidence = fit_evidence(kernels, effects - effects.mean(axis=0))
    assert evidence.weights_b[0] > 20 * evidence.weights_b[1]


def test_unseen_effects_are_predicted_and_held_out_ones_have_no_say():
    kernels, effects = world()
    train, test = np.arange(70), np.arange(70, 90)
    inner, cross = kernels[:, train][:, :, train], kernels[:, test][:, :, train]
    evidence = fit_evidence(inner, effects[train] - effects[train].mean(axis=0))
    predicted = predict_evidence(evidence, inner, cross, effects[train])
    error = ((predicted - effects[test]) ** 2).mean()
    assert error < 0.5 * ((effects[train].mean(axis=0) - effects[test]) ** 2).mean()


def test_a_missing_entity_is_predicted_by_the_mean():
    kernels, effects = world()
    evidence = fit_evidence(kernels, effects - effects.mean(axis=0))
    predicted = predict_evidence(evidence, kernels, np.zeros((2, 1, len(effects))), effects)
    assert np.allclose(predicted, effects.mean(axis=0))


def test_kernels_of_missing_rows_are_zero():
    rng = np.random.default_rng(0)
    vectors, missing = rng.standard_normal((8, 3)), np.arange(8) == 2
    for kernel in (cosine_kernel(vectors, missing), radial_kernel(vectors, missing)):
        assert not kernel[2].any() and not kernel[:, 2].any()
        assert np.allclose(np.diag(kernel)[~missing], 1)
