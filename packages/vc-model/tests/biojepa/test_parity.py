"""Outputs, losses and gradients equal those of a torch twin with the same weights, part by part and stage by stage."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from vc_model.biojepa import cpu, layers
from vc_model.biojepa.config import STAGES
from vc_model.biojepa.stages import bind, draw_mask, make_loss

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

PROGRESS = jnp.float32(0.9)
OUTPUT, GRADIENT = 1e-5, 1e-4
"""Largest difference, relative to the largest entry."""


def close(ours, theirs, tolerance, what, floor=0.0):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, what
    difference = float(np.abs(ours - theirs).max(initial=0))
    allowed = tolerance * max(float(np.abs(theirs).max(initial=0)), floor)
    assert difference <= allowed, f"{what}: {difference} > {allowed}"


def tensors(batch):
    as_tensor = {key: torch.from_numpy(value) for key, value in batch.items()}
    return as_tensor | {key: as_tensor[key].long() for key in ("modality", "mode")}


@pytest.fixture(scope="module", params=[None, 48], ids=["every token", "equal tokens once, few cells at a time"])
def case(request, faithful, parts, make_batch):
    """Config, trained parts and a batch, whose cells express up to 48 of 64 genes.

    First as accelerators compute: layers in a loop, which is half as much to compile, and whole batches. Then as one CPU does, with
    one layer: that layers follow each other is seen in the first case, and in test_cpu.py.
    """
    batch = make_batch(faithful)
    assert 32 < max(np.count_nonzero(batch[name], axis=1).max() for name in ("x", "x_control", "x_case")) <= 48
    with pytest.MonkeyPatch.context() as patch:
        if request.param is None:
            cfg = faithful
            for module in (cpu, layers):
                patch.setattr(module, "on_one_cpu", lambda: False)
        else:
            cfg = replace(faithful, room=request.param, n_layers=1)
            patch.setattr(cpu, "CPU_TOKENS", 2 * faithful.n_genes)
        yield cfg, parts(cfg), batch


def stage_trees(stage, parts):
    trained = {"pretrain": ("encoder", "maskpred"), "align": ("composer",), "ac": ("predictor", "composer")}
    names = trained.get(stage, ("decoder",))
    frozen = {"student": parts["encoder"]} | {name: parts[name] for name in ("teacher", "predictor", "composer")}
    return {name: parts[name] for name in names}, frozen


@pytest.mark.parametrize("stage", STAGES)
def test_stage_loss_and_gradients(stage, case, twin, quick_jit):
    cfg, parts, batch = case
    params, frozen = stage_trees(stage, parts)
    key = jax.random.key(3)
    step = quick_jit(jax.value_and_grad(make_loss(stage, cfg), has_aux=True))
    (loss, _), ours = step(params, frozen, batch, key, PROGRESS)
    kinds = {"student": "encoder", "teacher": "encoder"}
    modules = {name: twin.make(kinds.get(name, name), cfg, tree) for name, tree in (frozen | params).items()}
    data = tensors(batch)
    if stage in ("pretrain", "ac"):
        x = batch["x"] if stage == "pretrain" else batch["x_control"]
        masked = torch.from_numpy(np.array(draw_mask(cfg, stage, jax.random.split(key)[0], x, PROGRESS)))
    # beta of the likelihood is fully risen at this progress.
    if stage == "pretrain":
        theirs = twin.pretrain_loss(cfg, modules["encoder"], modules["maskpred"], modules["teacher"], data, masked)
    elif stage == "align":
        theirs = twin.align_loss(cfg, modules["composer"], data)
    elif stage == "ac":
        names = ("predictor", "composer", "student", "teacher")
        theirs = twin.ac_loss(cfg, *(modules[name] for name in names), data, masked)
    else:
        names = ("decoder", "student", "predictor", "composer")
        theirs = twin.decode_loss(cfg, *(modules[name] for name in names), data)
    theirs.backward()
    close(loss, theirs.detach(), OUTPUT, "loss")
    for part in params:
        expected = twin.gradients(modules[part])
        # A leaf whose gradient is a hundredth of the part's largest is a difference of large numbers.
        floor = 1e-2 * max(float(np.abs(value).max()) for value in expected.values())
        for name, gradient in twin.names(part, cfg, ours[part]).items():
            close(gradient, expected[name], GRADIENT, f"{part}.{name}", floor)


def test_encoder_latents_with_and_without_mask(case, twin, quick_jit):
    cfg, parts, batch = case
    masked = np.random.default_rng(1).random(batch["x"].shape) < 0.7
    ours = quick_jit(lambda p, x, t, m: bind("encoder", cfg, p)(x, t, masked=m))
    module = twin.make("encoder", cfg, parts["encoder"])
    data = tensors(batch)
    for mask in (masked, np.zeros_like(masked)):
        with torch.no_grad():
            theirs = module(data["x"], data["total"], torch.from_numpy(mask))
        close(ours(parts["encoder"], batch["x"], batch["total"], mask), theirs, OUTPUT, "latents")


@pytest.mark.parametrize("fusion", ["sum", "concat_mlp"])
def test_action_tokens(fusion, case, parts, twin):
    cfg, _, batch = case
    cfg = replace(cfg, fusion=fusion)
    tree = parts(cfg)["composer"]
    module = twin.make("composer", cfg, tree)
    ours = bind("composer", cfg, tree)(batch)
    with torch.no_grad():
        theirs = module(tensors(batch))
    close(ours, theirs, OUTPUT, "tokens")


def test_predicted_mean_and_log_variance(case, twin, quick_jit):
    cfg, parts, batch = case
    rng = np.random.default_rng(2)
    z = rng.normal(size=(4, cfg.n_genes, cfg.width)).astype(np.float32)
    action = rng.normal(size=(4, 2, cfg.action_width)).astype(np.float32)
    mu, logvar = quick_jit(lambda p, *a: bind("predictor", cfg, p)(*a))(
        parts["predictor"], z, action, batch["pert_mask"]
    )
    with torch.no_grad():
        their_mu, their_logvar = twin.make("predictor", cfg, parts["predictor"])(
            torch.from_numpy(z), torch.from_numpy(action)
        )
    close(mu, their_mu, OUTPUT, "mu")
    close(logvar, their_logvar, OUTPUT, "logvar")
