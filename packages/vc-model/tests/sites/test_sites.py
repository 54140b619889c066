"""Activations at named sites: streamed whole, decoding to what the model says, with the right gradient."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import vc_contracts
from vc_model.anchored import Anchored, AnchoredConfig
from vc_model.biojepa.actions import make_action_bank
from vc_model.biojepa.config import STAGES, BioJepaConfig
from vc_model.biojepa.fitted import FittedBioJepa
from vc_model.biojepa.stages import init_stage
from vc_model.errors import VcModelError
from vc_model.sites import open_site
from vc_model.sites.attention import write_attention
from vc_model.sites.open import with_controls
from vc_model.sites.random import randomised
from vc_model.sites.write import write_gradient, write_site
from vc_model.st.actions import make_actions
from vc_model.st.config import preset
from vc_model.st.fitted import FittedSt
from vc_model.st.mapper import init_mapper
from vc_model.table.pseudobulk import ControlCells
from vc_model.testing import make_world


@pytest.fixture(scope="module")
def world():
    return make_world(n_train=16, n_test=4, n_genes=20, n_cells=50)


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    return ControlCells(
        ("A",), np.zeros(6, int), rng.gamma(1, 1, (6, 20)).astype(np.float32), np.full(6, 8, np.float32)
    )


@pytest.fixture(scope="module")
def mapper(world, cells):
    actions = make_actions(world.train.conditions.actions)
    cfg = preset("tiny", n_genes=20, n_perturbations=len(actions.known), feature_width=actions.width,
                 set_size=4, width=8, n_layers=1, n_heads=2, hidden=8)  # fmt: skip
    return FittedSt(cfg, init_mapper(cfg, 0, np.full(20, 1.0)), world.train.contexts, cells, actions)


@pytest.fixture(scope="module")
def jepa(world, cells):
    config = BioJepaConfig.tiny(n_genes=20, n_layers=1, target_width=64)
    parts = {}
    for stage in STAGES:
        params, frozen = init_stage(stage, config, 0, parts)
        parts |= params | {name: tree for name, tree in frozen.items() if name == "teacher"}
    rng = np.random.default_rng(0)
    parts = jax.tree.map(lambda leaf: leaf + 0.1 * rng.standard_normal(leaf.shape).astype(np.float32), parts)
    bank = make_action_bank(world.train, [], seq_width=config.seq_width, target_width=64,
                            modality_widths=config.modality_widths)  # fmt: skip
    return FittedBioJepa(config, parts, STAGES, world.train.contexts, cells, bank)


@pytest.fixture(scope="module")
def anchored(world):
    return Anchored(AnchoredConfig(direct=False)).fit(world.train)


def rows_of(site):
    return np.concatenate([block.values_nd for block in site.blocks()])


def test_the_mappers_state_decodes_to_its_cells_and_its_gradient_is_that(mapper, world):
    site = open_site(mapper, with_controls(world.test))
    state = rows_of(site)
    assert len(state) == 6 * (1 + len(world.test)) and site.kind == "cell"
    rows = np.array([3, 8, 20])
    made = mapper.make_cells("A", world.test.actions[0])
    np.testing.assert_allclose(site.decode(state[rows], rows)[1], made[8 - 6], atol=1e-5)
    every = np.arange(len(state))
    up, down = (site.decode(state + step * np.eye(8, dtype=np.float32)[2], every) for step in (0.01, -0.01))
    np.testing.assert_allclose(((up - down) / 0.02).mean(axis=0), site.gradient()[:, 2], atol=2e-3)


def test_components_and_kernels_decode_to_the_prediction(anchored, world):
    predicted = anchored.predict(world.test)
    for name in ("effect/components", "gp/kernel"):
        site = open_site(anchored, world.test, name)
        values, every = rows_of(site), np.arange(len(world.test))
        np.testing.assert_allclose(site.decode(values, every), predicted.base_pg + predicted.delta_pg, atol=1e-4)
    np.testing.assert_allclose(rows_of(open_site(anchored, world.test)) @ open_site(anchored, world.test).basis_dg,
                               predicted.delta_pg, atol=1e-3)  # fmt: skip


def test_the_decoder_of_biojepa_is_linear_in_cell_vectors(jepa, world):
    site = open_site(jepa, with_controls(world.test))
    before, after = (block.values_nd for _, block in zip(range(2), site.blocks(), strict=False))
    change = (site.decode(after, np.arange(6)) - site.decode(before, np.arange(6))).mean(axis=0)
    assert change.shape == (20,) and np.abs(change).max() > 0
    np.testing.assert_allclose(rows_of(open_site(jepa, world.test, "encoder/cell")), before, atol=1e-5)
    genes = next(open_site(jepa, world.test, "encoder/gene").blocks())
    assert genes.names == world.train.genes
    np.testing.assert_allclose(genes.values_nd.mean(axis=0), before.mean(axis=0), atol=1e-4)


def test_factors_are_those_of_the_attention(jepa, tmp_path):
    from vc_model.biojepa.stages import bind

    n_rows = write_attention(tmp_path / "f.zarr", jepa, cells=2)
    found = vc_contracts.read(tmp_path / "f.zarr", "latents")
    assert n_rows == 2 * 20 and found.uns["site"].endswith("layer0/heads4") and (found.X >= 0).all()
    x, total = jepa.cells.of("A")
    teacher = jepa.parts["teacher"]
    encoder = bind("encoder", jepa.config, teacher)
    h = np.asarray(encoder.embed(x[:1]) + encoder.total(total[:1, None])[:, None])[0]
    block = {name: np.asarray(leaf[0]) for name, leaf in teacher["blocks"].items()}
    normed = h / np.sqrt((h**2).mean(axis=1, keepdims=True) + 1e-6) * block["norm1_scale"]
    both = (normed @ block["qkvg_kernel"] + block["qkvg_bias"])[:, : 2 * jepa.config.width]
    phi = np.where(both > 0, both + 1, np.exp(np.minimum(both, 0)))
    np.testing.assert_allclose(found.X[:20], phi, rtol=1e-3, atol=1e-4)


def test_streamed_files_keep_the_contract(mapper, world, tmp_path, monkeypatch):
    site = open_site(mapper, with_controls(world.test))
    monkeypatch.setattr("vc_model.sites.write.CHUNK_BYTES", 7 * 8 * 4)  # several chunks, the last one shorter
    write_site(tmp_path / "x.zarr", site)
    write_gradient(tmp_path / "g.zarr", site)
    found = vc_contracts.read(tmp_path / "x.zarr", "latents")
    np.testing.assert_array_equal(found.X, rows_of(site))
    assert found.obs["perturbation"].iloc[0] == "control" and set(found.obs["cell_line"]) == {"A"}
    assert list(vc_contracts.read(tmp_path / "g.zarr", "latents").obs_names) == list(world.train.genes)
    write_site(tmp_path / "x.zarr", site, batches={"A": [str(at % 2) for at in range(6)]})  # an earlier one is replaced
    found = vc_contracts.read(tmp_path / "x.zarr", "latents")
    assert found.obs["batch"].astype(str).tolist() == ["0", "1"] * (len(found) // 2)


def test_random_weights_are_other_weights_of_the_same_shape(mapper, jepa, anchored, world):
    blank = randomised(mapper, 7)
    assert not np.array_equal(rows_of(open_site(blank, world.test)), rows_of(open_site(mapper, world.test)))
    assert jax.tree.map(np.shape, randomised(jepa, 7).parts) == jax.tree.map(np.shape, jepa.parts)
    with pytest.raises(VcModelError, match="without any"):
        randomised(anchored)


def test_unknown_sites_and_models_are_refused(mapper, jepa, world):
    with pytest.raises(VcModelError, match=r"backbone/state.*nowhere"):
        open_site(mapper, world.test, "nowhere")
    with pytest.raises(VcModelError, match="all four stages"):
        open_site(replace(jepa, parts={"encoder": jepa.parts["encoder"]}), world.test)
    with pytest.raises(VcModelError, match="has none"):
        open_site(world, world.test)
