"""What v1.0 does otherwise than v0.6, in the published form of both."""

import jax.numpy as jnp
import numpy as np
import pytest
from vc_model.biojepa.config import STAGES, BioJepaConfig
from vc_model.biojepa.stages import bind, decay_mask, init_part, init_stage, make_loss


@pytest.fixture(scope="module")
def later():
    return BioJepaConfig.tiny(
        n_genes=24, n_layers=1, version="1.0", faithful=True, predictor_width=16, predictor_layers=1, fusion_dropout=0.0
    )


def test_every_stage_has_a_finite_loss(later, make_batch, quick_jit):
    import jax

    batch, previous = make_batch(later), {}
    for stage in STAGES:
        params, frozen = init_stage(stage, later, 0, previous)
        loss = quick_jit(make_loss(stage, later))(params, frozen, batch, jax.random.key(0), jnp.float32(1))[0]
        assert np.isfinite(loss), stage
        previous |= params | ({"teacher": frozen["teacher"]} if "teacher" in frozen else {})


def test_genes_without_expression_keep_their_identity_and_unmeasured_ones_have_a_token(later):
    encoder = init_part("encoder", later, 0)
    x, measured = jnp.zeros((1, 24)), np.arange(24) < 20
    tokens = bind("encoder", later, encoder).embed(x, measured=jnp.asarray(measured[None]))[0]
    np.testing.assert_allclose(tokens[:20], encoder["gene_embedding"][:20], atol=1e-6)
    np.testing.assert_allclose(
        tokens[20:], encoder["gene_embedding"][20:] + encoder["unmeasured_token"], rtol=1e-5, atol=1e-6
    )


def test_a_dose_acts_through_a_network_that_starts_at_one(later, make_batch):
    composer, batch = init_part("composer", later, 0), make_batch(later)
    none = batch | {"dose": np.full_like(batch["dose"], -1)}
    run = bind("composer", later, composer)
    np.testing.assert_allclose(run(batch), run(none), rtol=1e-5, atol=1e-6)
    composer["dose_out"]["kernel"] = np.ones_like(composer["dose_out"]["kernel"])
    moved = np.abs(np.asarray(bind("composer", later, composer)(batch) - run(none))).max(axis=2) > 0
    np.testing.assert_array_equal(moved, (batch["dose"] > 0) & batch["pert_mask"])


def test_slots_are_averaged_without_the_padded_ones(later, make_batch):
    composer, batch = init_part("composer", later, 0), make_batch(later)
    padded = ~batch["pert_mask"]
    noisy = batch | {"target_emb": np.where(padded[..., None], 9, batch["target_emb"]).astype(np.float32)}
    for one, other in zip(*(bind("composer", later, composer).embed_paths(b) for b in (batch, noisy)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_frozen_frequencies_do_not_decay(later):
    assert not decay_mask({"encoder": init_part("encoder", later, 0)}, later)["encoder"]["fourier"]
    assert decay_mask({"encoder": init_part("encoder", later, 0)}, later)["encoder"]["gene_embedding"]
