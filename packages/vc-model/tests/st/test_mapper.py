"""Sizes, symmetries and the torch twin of the set mapper."""

from functools import partial

import jax
import numpy as np
import pytest
from vc_model.errors import VcModelError
from vc_model.st.config import PRESETS, param_counts, preset
from vc_model.st.losses import energy_distance, set_loss
from vc_model.st.mapper import bind_mapper, init_mapper
from vc_model.st.sets import SetBatches
from vc_model.st.testing import make_sets, make_table, tiny_config

# Compiled whole and with little optimisation; operation by operation, each would be a program of its own.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
PUBLISHED = {"state": 75_510_528, "state_sm": 28_907_424, "state_lg": 212_577_168}
STATED_MILLIONS = {"state": 75.5, "state_sm": 28.9, "state_lg": 212.6}


def count(tree):
    return sum(np.size(leaf) for leaf in jax.tree.leaves(tree))


def test_backbones_have_the_published_sizes():
    for name, expected in PUBLISHED.items():
        found = param_counts(preset(name, n_genes=2000, n_perturbations=10))["backbone"]
        assert found == expected and round(found / 1e6, 1) == STATED_MILLIONS[name]
    small = param_counts(preset("replogle", n_genes=2000, n_perturbations=1000))
    assert small["backbone"] < 2_000_000


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("extra", [{}, {"feature_width": 5, "n_batches": 3, "confidence": True}])
def test_counts_in_closed_form(layers, extra):
    cfg = tiny_config(mlp_layers=layers, **extra)
    params, counts = init_mapper(cfg, 0), param_counts(cfg)
    assert count(params) == sum(counts.values())
    assert count(params["backbone"]) == counts["backbone"]
    assert count(params["cells"]) == counts["cells"] and count(params["output"]) == counts["output"]


def test_unknown_preset_and_width_are_refused():
    with pytest.raises(VcModelError, match="preset: expected one of"):
        preset("huge", n_genes=3, n_perturbations=2)
    with pytest.raises(VcModelError, match="multiple of n_heads"):
        tiny_config(width=17)
    assert set(PUBLISHED) <= set(PRESETS)


def example(cfg, seed=0):
    batch = SetBatches(make_sets(), make_table(width=4 if cfg.feature_width else 0), cfg, n_sets=3, seed=seed).at(0)
    if cfg.n_batches:
        batch["batch_id"] = np.arange(3 * cfg.set_size).reshape(3, -1) % cfg.n_batches
    return batch


def mapper_of(cfg):
    """(parameters, batch) -> what the mapper gives."""
    return quick_jit(lambda params, batch: bind_mapper(cfg, params)(batch))


def test_order_of_cells_only_orders_the_answer():
    cfg = tiny_config(confidence=True)
    run, params, batch = mapper_of(cfg), init_mapper(cfg, 1), example(cfg)
    order = np.random.default_rng(0).permutation(cfg.set_size)
    plain, mixed = run(params, batch), run(params, batch | {"x_control": batch["x_control"][:, order]})
    np.testing.assert_allclose(np.asarray(plain.y)[:, order], mixed.y, atol=2e-6)
    np.testing.assert_allclose(plain.confidence, mixed.confidence, atol=2e-6)


def test_order_of_genes_only_renames_weights():
    cfg = tiny_config()
    params, batch = init_mapper(cfg, 1), example(cfg)
    order = np.random.default_rng(0).permutation(cfg.n_genes)
    renamed = jax.tree.map(lambda leaf: leaf, params)
    first, last = renamed["cells"]["layers"]["0"], renamed["output"]["layers"]["0"]
    first["kernel"] = first["kernel"][order]
    last["kernel"], last["bias"] = last["kernel"][:, order], last["bias"][order]
    run = mapper_of(cfg)
    plain = run(params, batch).y
    mixed = run(renamed, batch | {"x_control": batch["x_control"][:, :, order]}).y
    np.testing.assert_allclose(np.asarray(plain)[:, :, order], mixed, atol=2e-6)


def test_an_unknown_perturbation_has_no_vector_but_its_features_count():
    cfg = tiny_config(feature_width=15)
    params, batch = init_mapper(cfg, 1), example(tiny_config(feature_width=15))
    unknown = batch | {"pert_id": np.zeros(3, np.int32)}
    other = jax.tree.map(lambda leaf: leaf, params) | {"perturbation": params["perturbation"] + 3}
    run = mapper_of(cfg)
    plain = run(params, unknown).y
    np.testing.assert_array_equal(plain, run(other, unknown).y)
    moved = run(params, unknown | {"pert_feature": batch["pert_feature"] + 1}).y
    assert np.abs(np.asarray(moved) - np.asarray(plain)).max() > 1e-4
    grads = quick_jit(jax.grad(lambda p: set_loss(cfg, {"mapper": p}, {}, unknown, jax.random.key(0), 0.0)[0]))(params)
    assert not np.asarray(grads["perturbation"]).any()


def test_an_anchored_mapper_starts_as_its_anchor():
    cfg = tiny_config(anchored=True)
    batch = example(tiny_config())
    base = batch["x_control"] * 1.25
    np.testing.assert_array_equal(mapper_of(cfg)(init_mapper(cfg, 0), batch | {"x_base": base}).y, base)


def test_energy_distance_is_what_scipy_says_in_one_dimension_and_chunks_change_nothing():
    from scipy.stats import energy_distance as reference

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 12, 1)), rng.normal(0.5, 2, size=(2, 20, 1))
    expected = [reference(a.ravel(), b.ravel()) ** 2 / 2 for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(quick_jit(energy_distance)(x, y), expected, atol=1e-5)
    np.testing.assert_allclose(quick_jit(partial(energy_distance, chunk=4))(x, y), expected, atol=1e-5)
    grad = quick_jit(jax.grad(lambda u: energy_distance(u, u).sum()))(x)
    assert np.isfinite(grad).all() and np.abs(grad).max() < 1e-6


@pytest.mark.parametrize("loss", ["energy", "pseudobulk", "delta_l1"])
def test_torch_twin(loss, torch_mapper):
    import torch

    cfg = tiny_config(
        mlp_layers=3, n_layers=2, feature_width=15, n_batches=3, confidence=True, loss=loss, dropout=0.0,
        confidence_weight=0.5, chunk=4,
    )  # fmt: skip
    params, batch = init_mapper(cfg, 3), example(cfg)
    twin = torch_mapper(cfg, params)
    tensors = {key: torch.as_tensor(np.asarray(value)) for key, value in batch.items()}
    y, state, confidence = twin(tensors)
    mapped = mapper_of(cfg)(params, batch)
    for ours, theirs in ((mapped.y, y), (mapped.state, state), (mapped.confidence, confidence)):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=1e-5, rtol=1e-5)
    theirs_loss = twin.loss(tensors)
    theirs_loss.backward()
    loss_of = quick_jit(
        jax.value_and_grad(lambda p: set_loss(cfg, {"mapper": p}, {}, batch, jax.random.key(0), 0.0)[0])
    )
    value, grads = loss_of(params)
    np.testing.assert_allclose(value, theirs_loss.item(), rtol=1e-5)
    leaves = dict(jax.tree_util.tree_leaves_with_path(grads))
    assert len(leaves) == len(list(twin.leaves))
    for path, leaf in leaves.items():
        np.testing.assert_allclose(leaf, twin.leaves[jax.tree_util.keystr(path)].grad.numpy(), atol=1e-4, rtol=1e-4)
