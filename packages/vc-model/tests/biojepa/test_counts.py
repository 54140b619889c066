"""The published numbers of parameters, in closed form and as instantiated."""

import math
from dataclasses import replace

import jax
import pytest
from vc_model.biojepa.config import BioJepaConfig, param_counts
from vc_model.biojepa.stages import MODULES, NOT_COUNTED, init_part

V06, V10 = BioJepaConfig.v0_6(), BioJepaConfig.v1_0()
TINY = BioJepaConfig.tiny(faithful=True)
PUBLISHED = [
    (V06, "encoder", 7_979_266),
    (V06, "predictor", 10_036_224),
    (V06, "composer", 1_478_976),
    (replace(V06, fusion="concat_mlp"), "composer", 2_094_336),
    (BioJepaConfig.v0_6(16_384), "encoder", 9_613_570),
    (BioJepaConfig.v0_6(16_384), "predictor", 11_670_528),
    (V06, "maskpred", 1_806_336),
    (replace(V06, n_mask_layers=3), "maskpred", 2_676_480),
    (V06, "decoder", 257),
    (V10, "encoder", 7_979_650),
    (V10, "predictor", 2_565_760),
    (V10, "composer", 444_224),
    (TINY, "encoder", 28_322),
    (TINY, "maskpred", 12_576),
    (TINY, "predictor", 40_448),
    (TINY, "composer", 14_280),
]


def instantiated(part, cfg):
    """Trainable parameters of the real module; nothing is allocated."""
    tree = init_part(part, cfg, 0)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    # The published count of v1.0 includes its frozen frequencies.
    left_out = NOT_COUNTED if cfg.version == "0.6" else None
    return sum(math.prod(leaf.shape) for path, leaf in leaves if path[-1].key != left_out)


@pytest.mark.parametrize(("cfg", "part", "count"), PUBLISHED)
def test_count_is_the_published_one(cfg, part, count):
    assert param_counts(cfg)[part] == count
    assert instantiated(part, cfg) == count


@pytest.mark.parametrize(
    "cfg",
    [
        BioJepaConfig.tiny(),
        BioJepaConfig.tiny(fusion="concat_mlp", learnable_tau=True),
        BioJepaConfig.v0_6(2_000, faithful=False, mlp_ratio=2.0, n_layers=3),
        BioJepaConfig.tiny(version="1.0", predictor_width=16, predictor_layers=1),
    ],
)
def test_count_of_the_repaired_model_is_the_closed_form(cfg):
    assert {part: instantiated(part, cfg) for part in MODULES} == param_counts(cfg)


def test_settings_of_v1_0_are_the_published_ones():
    assert (V10.fourier_scale, V10.film_multiple) == (5.699, 0.6769)
    assert (V10.sim, V10.std, V10.cov) == (50.18, 25.44, 0.5158)
    assert (V10.of_predictor.width, V10.of_predictor.n_layers, V10.action_width) == (128, 4, 128)


def test_hidden_width():
    assert V06.hidden == 704
    assert TINY.hidden == 64


def test_widths_that_no_head_count_divides_are_refused():
    with pytest.raises(ValueError, match="n_heads"):
        BioJepaConfig(n_genes=8, width=30, n_heads=4)
