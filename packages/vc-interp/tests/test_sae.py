"""Training with sae-lens. Importing it takes a while, so all tests that need it are here."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
from vc_interp.errors import InputError
from vc_interp.files.stored import open_latents
from vc_interp.sae.dictionary import read_dictionary
from vc_interp.sae.measure import loss_recovered, measure
from vc_interp.sae.settings import SaeSettings
from vc_interp.sae.stability import matched_cosine, max_cosine, stability
from vc_interp.sae.train import train_sae
from vc_interp.testing import plant, write_rows

# Not `importorskip`: every test process reads this file, and one of them runs it.
pytestmark = pytest.mark.skipif(find_spec("sae_lens") is None, reason="sae-lens is not installed")
SMALL = {"features": 24, "k": 2.0, "batch": 256, "passes": 20, "save_every": 100, "dead_window": 50}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trained(sparse, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train_sae(sparse[1], folder / "whole", SaeSettings(**SMALL))
    return folder / "whole"


def test_the_planted_dictionary_is_found(sparse, trained):
    planted, stored = sparse
    found = read_dictionary(trained)
    assert max_cosine(planted.truth_kd, found.dec_fd).mean() > 0.9
    assert found.record["measures"]["explained"] > 0.8 and found.record["measures"]["l0"] == pytest.approx(2, abs=0.6)
    assert loss_recovered(stored, found, lambda x, rows: x @ np.ones((24, 3), np.float32)) > 0.7


@pytest.mark.parametrize("architecture", ["batchtopk", "standard"])
def test_killed_and_resumed_is_the_uninterrupted_run(architecture, sparse, trained, tmp_path):
    settings = SaeSettings(**SMALL | {"architecture": architecture})
    whole = trained
    if architecture == "standard":  # its penalty is drawn to k on the way
        whole = tmp_path / "whole"
        train_sae(sparse[1], whole, settings)

    def stop(step: int) -> None:
        if step == 157:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_sae(sparse[1], tmp_path / "sae", settings, on_step=stop)
    assert not (tmp_path / "sae").exists() and (tmp_path / "sae.train" / "step100").is_dir()
    steps = []
    train_sae(sparse[1], tmp_path / "sae", settings, on_step=steps.append)
    assert steps[0] == 101 and not (tmp_path / "sae.train").exists()
    name = "sae_weights.safetensors"
    assert (tmp_path / "sae" / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("architecture", "more"), [("topk", {}), ("jumprelu", {"whiten": True, "passes": 80}), ("standard", {"passes": 40})]
)
def test_every_architecture_finds_it_is_saved_as_sae_lens_saves_it_and_read_without_it(
    architecture, more, sparse, tmp_path
):
    import torch
    from sae_lens.saes import SAE

    found = train_sae(sparse[1], tmp_path / "sae", SaeSettings(**SMALL | {"architecture": architecture} | more))
    assert max_cosine(sparse[0].truth_kd, found.dec_fd).mean() > 0.9
    assert found.record["measures"]["l0"] == pytest.approx(2, abs=0.8)
    x = sparse[0].x_nd[:200]
    theirs = SAE.load_from_disk(tmp_path / "sae")
    with torch.no_grad():
        codes = theirs.encode(torch.from_numpy(x))
        np.testing.assert_allclose(found.encode(x), codes.numpy(), atol=1e-5)
        np.testing.assert_allclose(found.decode(found.encode(x)), theirs.decode(codes).numpy(), atol=1e-4)
    if architecture == "topk":
        assert (found.encode(x) > 0).sum(axis=1).max() <= 2


def test_whitening_finds_small_directions_beside_a_large_one_and_is_folded_away(tmp_path):
    """A direction of great variance, as cells and lines make, hides sparse ones unless activations are whitened."""
    import torch
    from sae_lens.saes import SAE

    found = plant(4000, 24, 24, 2.0, seed=3)
    rng = np.random.default_rng(3)
    large_d = rng.standard_normal(24) / 5
    x = (0.05 * found.x_nd + 3 * rng.standard_normal((4000, 1)) * large_d).astype(np.float32)
    write_rows(tmp_path / "x.zarr", x)
    stored = open_latents(tmp_path / "x.zarr")
    plain, whitened = (
        train_sae(stored, tmp_path / f"{whiten}", SaeSettings(**SMALL, whiten=whiten)) for whiten in (False, True)
    )
    # What stands out of the large direction is what can be found.
    unit_d = large_d / np.linalg.norm(large_d)
    free = [one - np.outer(one @ unit_d, unit_d) for one in (found.truth_kd, plain.dec_fd, whitened.dec_fd)]
    assert max_cosine(free[0], free[2]).mean() > max_cosine(free[0], free[1]).mean() + 0.05
    theirs = SAE.load_from_disk(tmp_path / "True")
    with torch.no_grad():
        codes = theirs.encode(torch.from_numpy(x[:100]))
        np.testing.assert_allclose(whitened.encode(x[:100]), codes.numpy(), atol=1e-3)


def test_what_nothing_can_be_learnt_from_is_refused(sparse, tmp_path):
    with pytest.raises(InputError, match="at least"):
        train_sae(sparse[1], tmp_path / "sae", SaeSettings(features=2000))
    with pytest.raises(InputError, match="at most the 4 features"):
        train_sae(sparse[1], tmp_path / "sae", SaeSettings(features=4))
    with pytest.raises(InputError, match="whole number"):
        SaeSettings(architecture="topk", k=2.5)


def test_a_dictionary_that_is_none_is_refused(tmp_path, trained):
    with pytest.raises(InputError, match=r"no cfg\.json"):
        read_dictionary(tmp_path)
    for name in ("cfg.json", "sae_weights.safetensors"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    config = json.loads((trained / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps(config | {"architecture": "gated"}))
    with pytest.raises(InputError, match="architecture"):
        read_dictionary(tmp_path)
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    (tmp_path / "sae_weights.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(InputError, match="cannot be read"):
        read_dictionary(tmp_path)


def test_measures_of_a_perfect_dictionary(stored, dictionary):
    found = measure(stored, dictionary)
    assert found.explained > 0.9 and found.dead == 0 and 0.5 < found.l0 < 3


def test_a_dictionary_is_stable_against_itself_whatever_the_order(dictionary):
    from dataclasses import replace

    shuffled = replace(dictionary, dec_fd=dictionary.dec_fd[::-1])
    assert stability(dictionary, [shuffled]).mean == pytest.approx(1)
    assert matched_cosine(np.eye(3), np.eye(3)[:2]).tolist() == [1, 1, 0]
