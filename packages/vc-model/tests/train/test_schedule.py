import jax
import numpy as np
import pytest
from vc_model.errors import TrainingError
from vc_model.train.optimiser import OptimiserConfig, make_optimiser
from vc_model.train.schedule import one_cycle_beta1, one_cycle_rate


def test_the_cycle_begins_turns_and_ends_where_the_published_one_does():
    rate, beta1 = one_cycle_rate(1e-3, 1000), one_cycle_beta1(1000)
    np.testing.assert_allclose([rate(0), rate(49), rate(999)], [1e-3 / 25, 1e-3, 1e-3 / 25e4], rtol=1e-5)
    np.testing.assert_allclose([beta1(0), beta1(49), beta1(999)], [0.95, 0.85, 0.95], rtol=1e-5)


@pytest.mark.parametrize("total", [3, 10, 40, 333])
def test_every_step_is_that_of_torch(total):
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.AdamW([weight], lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=7e-4, total_steps=total, pct_start=0.05, final_div_factor=1e4
    )
    expected = []
    for step in range(total):
        group = optimiser.param_groups[0]
        expected.append((group["lr"], group["betas"][0]))
        optimiser.step()
        if step < total - 1:
            schedule.step()
    steps = np.arange(total)
    ours = np.stack([one_cycle_rate(7e-4, total)(steps), one_cycle_beta1(total)(steps)], axis=1)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-11)


def test_updates_are_those_of_torch_with_a_clip_a_decay_mask_and_a_rate_per_group():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    start = {
        "predictor": {"w": rng.standard_normal((3, 2)), "b": rng.standard_normal(2)},
        "composer": {"w": rng.standard_normal(4)},
    }
    start = jax.tree.map(lambda a: a.astype(np.float32), start)
    grads = [jax.tree.map(lambda a: rng.standard_normal(a.shape).astype(np.float32), start) for _ in range(30)]
    config = OptimiserConfig(peak_rate=1e-2, weight_decay=0.05, clip_norm=1.0, rate_scale={"composer": 0.1})
    decay = {"predictor": {"w": True, "b": False}, "composer": {"w": True}}

    tx = make_optimiser(config, 30, start, decay)
    params, state = start, tx.init(start)
    update = jax.jit(tx.update)
    for grad in grads:
        updates, state = update(grad, state, params)
        params = jax.tree.map(lambda p, u: p + u, params, updates)

    theirs = [
        torch.nn.Parameter(torch.tensor(a))
        for a in (start["predictor"]["w"], start["predictor"]["b"], start["composer"]["w"])
    ]
    groups = [
        {"params": [theirs[0]], "lr": 1e-2, "weight_decay": 0.05},
        {"params": [theirs[1]], "lr": 1e-2, "weight_decay": 0.0},
        {"params": [theirs[2]], "lr": 1e-3, "weight_decay": 0.05},
    ]
    optimiser = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=[1e-2, 1e-2, 1e-3], total_steps=30, pct_start=0.05)
    for step, grad in enumerate(grads):
        for weight, g in zip(
            theirs, (grad["predictor"]["w"], grad["predictor"]["b"], grad["composer"]["w"]), strict=True
        ):
            weight.grad = torch.tensor(g)
        torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        optimiser.step()
        if step < 29:
            schedule.step()
    ours = (params["predictor"]["w"], params["predictor"]["b"], params["composer"]["w"])
    for own, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own, their.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_a_rate_for_a_group_that_is_not_there_is_refused():
    with pytest.raises(TrainingError, match=r"expected some of the groups \['a'\], found \['b'\]"):
        make_optimiser(OptimiserConfig(peak_rate=1e-3, rate_scale={"b": 1.0}), 10, {"a": np.zeros(2)})
