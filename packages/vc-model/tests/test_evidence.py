"""Weights by evidence: the bank that carries the effects gets the weight, and unseen effects are predicted from it."""

import numpy as np
from vc_model.baselines.evidence import (
    carry_over,
    cosine_kernel,
    evidence_weights,
    fit_evidence,
    predict_evidence,
    radial_kernel,
)


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


def test_what_a_training_effect_is_predicted_by_hardly_holds_itself():
    kernels, effects = world()
    effects = effects - effects.mean(axis=0)
    evidence = fit_evidence(kernels, effects)
    _, out = evidence_weights(evidence, kernels, kernels, effects)
    changed = effects.copy()
    changed[3] += 1e-3
    moved = evidence_weights(evidence, kernels, kernels, changed)[1] @ changed - out @ effects
    # Its share of the mean is left, and of the principal components.
    assert np.abs(moved[3]).max() < 0.2 * 1e-3


def test_the_same_perturbation_elsewhere_moves_a_prediction_where_it_helps():
    rng = np.random.default_rng(0)
    elsewhere, noise = rng.standard_normal((200, 30)), rng.standard_normal((200, 30))
    effects = 0.5 * elsewhere + 0.3 * rng.standard_normal((200, 30))
    nothing = np.zeros((150, 30))
    train, test = slice(0, 150), slice(150, 200)
    told, untold = (
        carry_over(nothing, nothing[:50], effects[train], known[train], known[test]) for known in (elsewhere, noise)
    )
    error, useless = (((said - effects[test]) ** 2).mean() for said in (told, untold))
    variance = effects[test].var()
    assert error < 0.5 * variance
    assert useless < 1.1 * variance
