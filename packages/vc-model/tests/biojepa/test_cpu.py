"""What a CPU computes in its own way is what an accelerator computes: few cells at a time, layers without a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vc_model.biojepa import cpu
from vc_model.biojepa.stages import make_loss

TOKENS = 12


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 20))
def test_few_cells_sees_every_cell_once_and_no_more_than_few(n_cells, n_tokens):
    seen = []

    def function(x, tree):
        seen.append(len(x))
        return {"sum": x.sum(axis=1) + tree["y"], "none": None}

    x = np.random.default_rng(0).normal(size=(n_cells, 3)).astype(np.float32)
    y = np.arange(n_cells, dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "CPU_TOKENS", TOKENS)
        found = cpu.few_cells(function, (x, {"y": y}), n_tokens)
    np.testing.assert_allclose(found["sum"], x.sum(axis=1) + y, rtol=1e-5)
    assert found["none"] is None
    assert max(seen) == 1 or max(seen) * n_tokens <= TOKENS


@pytest.mark.parametrize("stage", ["pretrain", "ac", "decode"])
def test_loss_and_gradient_are_those_of_a_scan_over_all_cells(
    stage, repaired, parts, make_batch, quick_jit, monkeypatch
):
    tree, batch = parts(repaired), make_batch(repaired)
    trained = {"pretrain": ("encoder", "maskpred"), "ac": ("predictor", "composer"), "decode": ("decoder",)}[stage]
    params, frozen = {name: tree[name] for name in trained}, tree | {"student": tree["encoder"]}

    def run():
        step = jax.value_and_grad(make_loss(stage, repaired), has_aux=True)
        traced = str(jax.make_jaxpr(step)(params, frozen, batch, jax.random.key(3), jnp.float32(0.9)))
        return quick_jit(step)(params, frozen, batch, jax.random.key(3), jnp.float32(0.9)), traced

    monkeypatch.setattr(cpu, "CPU_TOKENS", 2 * repaired.n_genes)
    ((loss, metrics), gradient), turns = run()
    monkeypatch.setattr(cpu, "on_one_cpu", lambda: False)
    ((expected, metrics_too), gradient_too), whole = run()
    assert f"length={len(batch['x']) // 2}" in turns and "optimization_barrier" in turns
    assert "custom_vjp" not in whole and f"length={repaired.n_layers}" in whole
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for name, value in metrics_too.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradient_too))
    for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(gradient_too), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5 * largest)
