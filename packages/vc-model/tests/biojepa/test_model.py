"""What the architecture promises: symmetry, the kernel form of attention, initial values, gradients, learning."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from vc_model.biojepa import layers
from vc_model.biojepa.stages import bind, ema_update, init_part, init_stage, make_loss

HALF = jnp.float32(0.5)
STEPS = 150


def test_linear_attention_is_its_explicit_kernel_matrix():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, n, 3, 4)).astype(np.float32) for n in (5, 7, 7))
    mask = np.array([[1, 1, 1, 1, 1, 0, 0], [1] * 7], bool)

    def phi(u):
        return np.where(u > 0, u + 1, np.exp(u))

    kernel = np.einsum("bthk,bshk->bhts", phi(q), phi(k)) * mask[:, None, None]
    expected = np.einsum("bhts,bshj->bthj", kernel / (kernel.sum(-1, keepdims=True) + 1e-6), v)
    q, k, v, expected = (u.reshape(*u.shape[:2], -1) for u in (q, k, v, expected))
    np.testing.assert_allclose(layers.linear_attention(q, k, v, 3, jnp.asarray(mask)), expected, atol=1e-5)


def test_the_two_ways_to_read_the_state_agree_with_their_gradients():
    """By head on CPUs, by width on accelerators, which this test cannot reach through `linear_attention`."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.random((2, n, 12)).astype(np.float32) for n in (5, 7, 7))
    weight = rng.normal(size=(2, 5, 12)).astype(np.float32)

    def run(read):
        return jax.value_and_grad(lambda q, k, v: (read(q, k, v, 3) * weight).sum(), argnums=(0, 1, 2))(q, k, v)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        *map(run, (layers.read_by_head, layers.read_by_width)),
    )


def test_permuting_genes_permutes_latents(repaired, parts, make_batch, quick_jit):
    tree, batch = parts(repaired)["encoder"], make_batch(repaired)
    order = np.random.default_rng(0).permutation(repaired.n_genes)
    run = quick_jit(lambda p, x, t, m: bind("encoder", repaired, p)(x, t, masked=m))
    mask = np.random.default_rng(1).random(batch["x"].shape) < 0.5
    z = run(tree, batch["x"], batch["total"], mask)
    moved = tree | {"gene_embedding": tree["gene_embedding"][order]}
    np.testing.assert_allclose(run(moved, batch["x"][:, order], batch["total"], mask[:, order]), z[:, order], atol=2e-5)


def test_initial_values(faithful, repaired):
    encoder = init_part("encoder", faithful, 0)
    assert not np.any(encoder["film_out"]["kernel"]) and not np.any(encoder["film_out"]["bias"])
    d = faithful.width
    blocks = encoder["blocks"]
    assert not np.any(blocks["qkvg_kernel"][..., 3 * d :])
    gate = jax.nn.sigmoid(blocks["qkvg_bias"][..., 3 * d :])
    np.testing.assert_allclose(gate, 0.881, atol=5e-4)
    # FiLM at its identity: the value enters linearly.
    x = np.array([[0.5] * faithful.n_genes], np.float32)
    tokens = bind("encoder", faithful, encoder).embed(jnp.asarray(x))[0]
    np.testing.assert_allclose(tokens, 0.81 * 0.5 * encoder["gene_embedding"], rtol=1e-5)
    composer = init_part("composer", repaired, 0)
    assert not np.any(composer["scale"]["kernel"]) and not np.any(composer["shift"]["kernel"])


def test_same_seed_same_bytes(repaired):
    a, b, other = (init_part("maskpred", repaired, seed) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert np.any(a["out"]["kernel"] != other["out"]["kernel"])


def test_ema_algebra():
    teacher, student = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([3.0, 6.0])}
    np.testing.assert_allclose(ema_update(teacher, student, 0.75)["w"], [1.5, 3.0])
    np.testing.assert_allclose(ema_update(teacher, student, 1.0)["w"], teacher["w"])


def test_a_stage_without_its_predecessor_is_refused(repaired):
    with pytest.raises(KeyError, match="trained 'encoder'"):
        init_stage("ac", repaired, 0, {})


def test_remat_and_bfloat16_change_little(repaired, parts, quick_jit):
    tree = parts(repaired)["maskpred"]
    z = np.random.default_rng(0).normal(size=(2, repaired.n_genes, repaired.width)).astype(np.float32)

    def run(**changes):
        cfg = replace(repaired, **changes)

        def loss(p, z):
            return (bind("maskpred", cfg, p)(z.astype(cfg.compute)).astype(jnp.float32) ** 2).mean()

        return quick_jit(jax.value_and_grad(loss))(tree, z)

    value, gradient = run()
    again, same = run(remat=True)
    assert float(again) == pytest.approx(float(value), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * (1e-3 + np.abs(b).max())), same, gradient)
    low, gradient = run(compute="bfloat16")
    assert float(low) == pytest.approx(float(value), rel=0.05)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(gradient))


ACTION = ("seq_emb", "target_emb", "modality", "mode", "has_seq", "has_target", "dose")


@pytest.fixture(scope="module")
def pairs(repaired, make_batch, quick_jit):
    """Eight pairs of four actions, each with an effect of its own; a function that fits the action stage on pairs, and one
    that gives the relative squared error of the predicted change of latents.
    """
    # With beta 1 the likelihood is squared error, which is what is judged.
    cfg = replace(repaired, n_genes=24, n_layers=1, beta_nll=1.0)
    batch = make_batch(cfg, 8, 1, seed=1)
    kind = np.arange(8) % 4
    batch |= {key: batch[key][kind] for key in ACTION}
    batch["pert_mask"][:] = True
    batch["measured"][:] = True
    rng = np.random.default_rng(0)
    effect = rng.normal(size=(4, cfg.n_genes)).astype(np.float32) * (rng.random((4, cfg.n_genes)) < 0.3)
    batch["x_case"] = np.maximum(batch["x_control"] + effect[kind], 0)
    batch["total_case"] = batch["total_control"]
    encoder = init_part("encoder", cfg, 0)
    start, frozen = init_stage("ac", cfg, 0, {"encoder": encoder, "teacher": encoder})
    loss, optimiser = make_loss("ac", cfg), optax.adam(optax.cosine_decay_schedule(1e-2, STEPS))

    @quick_jit
    def fit(batch):
        def step(carry, _):
            params, state = carry
            args = (params, frozen, batch, jax.random.key(0), jnp.float32(1))
            gradient, _ = jax.grad(loss, has_aux=True)(*args)
            updates, state = optimiser.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (start, optimiser.init(start)), None, length=STEPS)[0][0]

    @quick_jit
    def change(params, batch):
        encoder = bind("encoder", cfg, frozen["teacher"])
        z, target = (encoder(batch[f"x_{name}"], batch[f"total_{name}"]) for name in ("control", "case"))
        action = bind("composer", cfg, params["composer"])(batch)
        return bind("predictor", cfg, params["predictor"])(z, action, batch["pert_mask"])[0] - z, target - z

    def error(params, data=None):
        predicted = change(params, batch | (data or {}))[0]
        truth = change(params, batch)[1]
        return float(((predicted - truth) ** 2).mean() / (truth**2).mean())

    def mean_error():
        truth = change(start, batch)[1]
        return float(((truth - truth.mean(axis=0)) ** 2).mean() / (truth**2).mean())

    return batch, fit, error, mean_error()


def test_a_batch_of_eight_cells_is_overfit(repaired, make_batch, quick_jit):
    cfg = replace(repaired, n_genes=24, n_layers=1)
    batch = make_batch(cfg, 8, 1, seed=1)
    params, frozen = init_stage("pretrain", cfg, 0, {})
    loss, optimiser = make_loss("pretrain", cfg), optax.adam(5e-3)

    @quick_jit
    def fit(params):
        def step(carry, _):
            params, state = carry
            args = (params, frozen, batch, jax.random.key(0), HALF)
            gradient, metrics = jax.grad(loss, has_aux=True)(*args)
            updates, state = optimiser.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), metrics["loss_sim"]

        return jax.lax.scan(step, (params, optimiser.init(params)), None, length=2 * STEPS)[1]

    sim = fit(params)
    assert float(sim[-1]) < 0.2 * float(sim[0])


def test_eight_pairs_are_overfit_by_their_actions_and_by_no_others(pairs):
    batch, fit, error, mean_error = pairs
    params = fit(batch)
    others = {key: np.roll(batch[key], 1, axis=0) for key in ACTION}
    assert error(params) < 0.3 < 0.6 < mean_error < error(params, others)


def test_what_shuffled_actions_teach_does_not_beat_the_mean(pairs):
    batch, fit, error, mean_error = pairs
    shuffled = batch | {key: np.roll(batch[key], 1, axis=0) for key in ACTION}
    assert error(fit(shuffled)) > mean_error


def test_training_on_controls_alone_predicts_no_effect(pairs):
    batch, fit, error, _ = pairs
    params = fit(batch | {"x_case": batch["x_control"]})
    # The error of predicting nothing at all is 1.
    assert error(params) == pytest.approx(1, abs=1e-2)
