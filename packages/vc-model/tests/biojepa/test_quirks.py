"""Each known fault of the published model (model A11), shown under `faithful=True`, and its repair under the default."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from vc_model.biojepa import losses
from vc_model.biojepa.encoder import cell_vector
from vc_model.biojepa.stages import bind, decay_mask, draw_mask, ema_update, init_stage, make_loss, mask_ratio
from vc_model.table.effects import Action
from vc_model.table.pseudobulk import ControlCells

LATE = jnp.float32(1)


def spread(latents_nd):
    """Largest distance of any row from their mean, relative to the size of a row."""
    latents_nd = np.asarray(latents_nd)
    size = np.linalg.norm(latents_nd, axis=1).mean()
    return np.linalg.norm(latents_nd - latents_nd.mean(axis=0), axis=1).max() / size


@pytest.fixture(scope="module")
def cells(faithful, make_batch):
    """Four cells; half of the genes of the first are not expressed, and the mask hides half of those that are."""
    batch = make_batch(faithful)
    x = np.array(batch["x"])
    x[0, :32], x[0, 32:] = 0, 1 + np.arange(32) / 32
    masked = np.zeros(x.shape, bool)
    masked[:, 48:] = True
    return x, batch["total"], masked


@pytest.fixture(scope="module")
def encoded(faithful, repaired, parts, cells, quick_jit):
    """Faithful or not -> student latents and masked predictions of the cells."""
    x, total, masked = cells
    out = {}
    for cfg in (faithful, repaired):

        def run(p, x, total, masked, cfg=cfg):
            z = bind("encoder", cfg, p["encoder"])(x, total, masked=masked)
            return z, bind("maskpred", cfg, p["maskpred"])(z)

        out[cfg.faithful] = quick_jit(run)(parts(cfg), x, total, masked)
    return out


def test_q1_masked_genes_get_one_prediction_or_their_own(encoded):
    assert spread(encoded[True][1][0, 48:]) < 1e-5
    assert spread(encoded[False][1][0, 48:]) > 1e-2


def test_q2_unexpressed_genes_share_a_latent_or_keep_their_identity(encoded):
    assert spread(encoded[True][0][0, :32]) < 1e-5
    assert spread(encoded[False][0][0, :32]) > 1e-2


@pytest.fixture(scope="module")
def predict(faithful, repaired, parts, quick_jit):
    """(faithful, latents, action tokens, mask) -> mean latents."""
    run = {
        cfg.faithful: quick_jit(lambda p, *a, cfg=cfg: bind("predictor", cfg, p)(*a)[0]) for cfg in (faithful, repaired)
    }
    trees = {cfg.faithful: parts(cfg)["predictor"] for cfg in (faithful, repaired)}
    return lambda kind, *arrays: np.asarray(run[kind](trees[kind], *arrays))


@pytest.fixture(scope="module")
def latents(faithful):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2, faithful.n_genes, faithful.width)).astype(np.float32)
    return z, rng.normal(size=(2, 2, faithful.action_width)).astype(np.float32)


def test_q3_one_action_is_broadcast_or_read_by_each_gene(faithful, repaired, parts, latents, quick_jit):
    from vc_model.biojepa.layers import cross_attention

    z, action = latents
    for cfg in (faithful, repaired):
        p = {name: value[0] for name, value in parts(cfg)["predictor"]["blocks"].items()}
        act = jnp.asarray(action[:, :1, : cfg.width])
        out = cross_attention(p, jnp.asarray(z), act, jnp.ones((2, 1), bool), cfg)
        assert (spread(out[0]) < 1e-5) == cfg.faithful


def test_q4_padded_slots_dilute_or_change_nothing(predict, latents):
    z, action = latents
    mask = np.array([[True, False]] * 2)
    action = np.where(mask[..., None], action, 0)
    for kind in (True, False):
        padded, alone = predict(kind, z, action, mask), predict(kind, z, action[:, :1], mask[:, :1])
        assert (np.abs(padded - alone).max() > 1e-3) == kind
        if not kind:
            np.testing.assert_allclose(padded, alone, atol=1e-5)


def test_no_action_is_no_change_when_repaired(predict, latents):
    z, action = latents
    np.testing.assert_array_equal(predict(False, z, action, np.zeros((2, 2), bool)), z)


def test_q5_equal_cells_are_not_penalised_or_are():
    rng = np.random.default_rng(0)
    genes_gd = rng.normal(size=(256, 16)).astype(np.float32)
    equal = jnp.asarray(np.broadcast_to(genes_gd, (64, 256, 16)))
    assert float(losses.vicreg(equal)[0]) < 0.1
    key = jax.random.key(0)
    normal = jnp.asarray(rng.normal(size=(64, 16)), jnp.float32)
    collapsed = float(losses.sigreg(cell_vector(equal), key, 256))
    assert collapsed > 10 * float(losses.sigreg(normal, key, 256))


def test_q5_vectors_that_only_follow_depth_are_penalised():
    rng = np.random.default_rng(0)
    depth, own = jnp.asarray(rng.normal(8, 1, 256), jnp.float32), rng.normal(size=(256, 16)).astype(np.float32)
    follow = 3 + np.outer(depth, rng.normal(size=16)) + np.outer(depth**2, rng.normal(size=16))
    assert float(jnp.abs(losses.beyond_depth(jnp.asarray(follow), depth)).max()) < 1e-2 * np.abs(follow).max()
    # What has nothing to do with depth keeps its variance, and is kept under any dependence on depth.
    left = losses.beyond_depth(jnp.asarray(own + follow), depth)
    np.testing.assert_allclose(np.var(left, axis=0), np.var(own, axis=0), rtol=0.1)
    np.testing.assert_allclose(left, losses.beyond_depth(jnp.asarray(own), depth), atol=0.05)
    # Cells of one depth: only the mean is taken.
    same = losses.beyond_depth(jnp.asarray(own), jnp.full(256, 8.0))
    np.testing.assert_allclose(same, (own - own.mean(axis=0)) * (256 / 253) ** 0.5, atol=1e-2)


def test_q5_after_pretraining_cell_vectors_still_tell_cells_apart(repaired, quick_jit):
    """Cells of four types and any depth; with a spread that depth alone can satisfy, training teaches nothing of the type."""
    cfg = replace(repaired, n_layers=1)
    rng = np.random.default_rng(0)
    n, steps, kind = 32, 300, np.arange(256) % 4
    rate = rng.gamma(1, 1, cfg.n_genes) * np.exp(0.7 * rng.normal(size=(4, cfg.n_genes)))
    rate /= rate.sum(axis=1, keepdims=True)
    count = rng.poisson(rate[kind] * np.exp(rng.normal(6, 0.7, 256))[:, None])
    total = count.sum(axis=1)
    x, total = np.log1p(count / total[:, None] * 1e4).astype(np.float32), np.log1p(total).astype(np.float32)
    cells = [rng.permutation(256)[:n] for _ in range(steps)]
    batches = {"x": x[np.array(cells)], "total": total[np.array(cells)]}
    measured = np.ones(cfg.n_genes, bool)
    params, frozen = init_stage("pretrain", cfg, 0, {})
    loss, optimiser = make_loss("pretrain", cfg), optax.adam(2e-3)

    @quick_jit
    def fit(params, teacher):
        def step(carry, batch):
            params, teacher, state, at = carry
            batch = batch | {"measured": measured}
            key = jax.random.fold_in(jax.random.key(0), at)
            gradient = jax.grad(loss, has_aux=True)(params, {"teacher": teacher}, batch, key, at / steps)[0]
            updates, state = optimiser.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
            return (params, ema_update(teacher, params["encoder"], 0.98), state, at + 1), None

        start = (params, teacher, optimiser.init(params), jnp.float32(0))
        return jax.lax.scan(step, start, batches)[0][1]

    def told(teacher) -> float:
        v = np.asarray(cell_vector(bind("encoder", cfg, teacher)(x, total)))
        v = np.column_stack([v - v.mean(axis=0), np.ones(256)])
        solved = np.linalg.lstsq(v[:128], np.eye(4)[kind[:128]], rcond=None)[0]
        return float(((v[128:] @ solved).argmax(axis=1) == kind[128:]).mean())

    before, after = told(frozen["teacher"]), told(fit(params, frozen["teacher"]))
    assert before < 0.85 and after > before + 0.08


def test_q6_masks(faithful, repaired):
    key, x = jax.random.key(1), np.zeros((8, faithful.n_genes), np.float32)
    at = {
        cfg.faithful: [float(mask_ratio(cfg, "ac", key, jnp.float32(t))) for t in (0, 0.85, 1)]
        for cfg in (faithful, repaired)
    }
    np.testing.assert_allclose(at[True], [0.766, 0.766, 0.1], atol=1e-6)
    np.testing.assert_allclose(at[False], [0.766, 0.766, 0.0], atol=1e-6)
    shares = {
        cfg.faithful: [float(mask_ratio(cfg, "pretrain", jax.random.key(seed), LATE)) for seed in range(200)]
        for cfg in (faithful, repaired)
    }
    np.testing.assert_allclose(shares[True], 0.766, atol=1e-6)
    # Whole cells, as in use, and cells of which little is seen, throughout.
    assert min(shares[False]) < 0.05 and 0.7 < max(shares[False]) < 0.766
    for cfg in (faithful, repaired):
        mask = np.asarray(draw_mask(cfg, "pretrain", key, x, LATE))
        assert mask.shape == x.shape and ((mask == mask[0]).all() != cfg.faithful)


@pytest.fixture(scope="module")
def decode(faithful, repaired, parts, quick_jit):
    """(faithful, batch, frozen changes) -> loss of the decoder stage."""
    run = {cfg.faithful: quick_jit(make_loss("decode", cfg)) for cfg in (faithful, repaired)}

    def get(kind, batch, **changed):
        tree = parts(faithful if kind else repaired)
        frozen = {"student": tree["encoder"]} | {name: tree[name] for name in ("teacher", "predictor", "composer")}
        return float(run[kind]({"decoder": tree["decoder"]}, frozen | changed, batch, jax.random.key(0), LATE)[0])

    return get


def test_q7_unmeasured_genes_count_or_do_not(decode, faithful, make_batch):
    batch = make_batch(faithful)
    values = {"x_control": 3, "x_case": 9, "x_effect": 6}
    junk = {key: np.where(batch["measured"], batch[key], value).astype(np.float32) for key, value in values.items()}
    for kind in (True, False):
        assert (abs(decode(kind, batch) - decode(kind, batch | junk)) > 1e-2) == kind


def test_q8_context_is_read_by_the_student_or_the_teacher(decode, faithful, repaired, parts, make_batch):
    for cfg in (faithful, repaired):
        batch = make_batch(cfg)
        other = {"student": parts(cfg)["teacher"]}
        assert (decode(cfg.faithful, batch) != decode(cfg.faithful, batch, **other)) == cfg.faithful


def test_a_pair_of_cells_or_the_measured_effect_teaches_the_decoder(decode, faithful, repaired, make_batch):
    """A random pair also says how its control cell differs from the others of its line."""
    for cfg in (faithful, repaired):
        batch = make_batch(cfg)
        other = batch | {"x_case": batch["x_case"] + 1}
        assert (decode(cfg.faithful, batch) != decode(cfg.faithful, other)) == cfg.faithful
        other = batch | {"x_effect": batch["x_effect"] + 1}
        assert (decode(cfg.faithful, batch) == decode(cfg.faithful, other)) == cfg.faithful


def test_q9_own_control_value_has_no_path_or_an_identity(predict, latents):
    z, action = latents
    mask = np.ones((2, 2), bool)
    moved = np.array(z)
    moved[:, 5] += 1
    for kind in (True, False):
        change = predict(kind, moved, action, mask) - predict(kind, z, action, mask)
        own, others = np.abs(change[:, 5]).mean(), np.abs(np.delete(change, 5, axis=1)).mean()
        assert (own > 5 * others) != kind


def test_q10_retrieval_starts_from_the_mean_profile_or_from_cells(fitted, faithful):
    actions = [Action((name,), 0) for name in "ABC"]
    delta_g = np.random.default_rng(1).normal(size=faithful.n_genes).astype(np.float32)
    for kind, model in fitted.items():
        cells, bank = model.cells, model.bank
        found = model.retrieve("line", delta_g, actions)
        mean = ControlCells(("line",), np.zeros(1, int), cells.x_ng.mean(axis=0)[None], cells.total_n.mean()[None])
        from_mean = replace(model, cells=mean).retrieve("line", delta_g, actions)
        blind = replace(model, bank=replace(bank, target_et=-bank.target_et)).retrieve("line", delta_g, actions)
        for other in (from_mean, blind):
            assert np.allclose(found, other, atol=1e-5, equal_nan=True) == kind
        assert np.isnan(found).tolist() == [False, False, kind]


def test_q10_repaired_retrieval_finds_what_was_predicted(fitted):
    actions = [Action((name,), 0) for name in "ABC"]
    model = fitted[False]
    for at, action in enumerate(actions):
        (delta_g,) = model._effects(*model.cells.of("line"), [action])
        found = model.retrieve("line", delta_g, actions)
        assert found.argmax() == at and found[at] == pytest.approx(1)


def test_q11_frequencies_and_decay(faithful, repaired, parts, make_batch, quick_jit):
    for cfg in (faithful, repaired):
        tree, batch = parts(cfg)["encoder"], make_batch(cfg)
        gradient = quick_jit(jax.grad(lambda f, x, p, cfg=cfg: (bind("encoder", cfg, p | f).embed(x) ** 2).sum()))(
            {"fourier": tree["fourier"]}, batch["x"], tree
        )
        assert bool(jnp.any(gradient["fourier"] != 0)) == cfg.faithful
        decayed = decay_mask({"encoder": tree}, cfg)["encoder"]
        assert decayed["film_in"]["kernel"] is True
        assert decayed["norm_scale"] == decayed["gene_embedding"] == decayed["film_in"]["bias"] == cfg.faithful
