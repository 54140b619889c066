"""Implicit weights against the matrix that is never made, and edges by intervention."""

import numpy as np
import pytest
from vc_interp.attention.edges import compare, edge_table, interventions
from vc_interp.attention.run import compare_attention
from vc_interp.attention.weights import gene_weights, read_factors, set_weights
from vc_interp.errors import InputError
from vc_interp.files.effects import Effects
from vc_interp.files.stored import open_latents
from vc_interp.latents import Latents, write_latents

GENES = tuple(f"G{at}" for at in range(12))


@pytest.fixture(scope="module")
def factors(tmp_path_factory):
    rng = np.random.default_rng(0)
    both = rng.gamma(1, 1, (3 * 12, 16)).astype(np.float32)
    rows = tuple(f"A|{cell}|{gene}" for cell in range(3) for gene in GENES)
    path = tmp_path_factory.mktemp("attention") / "factors.zarr"
    write_latents(path, Latents(values_rd=both, rows=rows, kinds=("gene",) * 36, dims=tuple(f"d{i}" for i in range(16)),
                                site="encoder/attention/layer1/heads2", model="biojepa"))  # fmt: skip
    q, k = (half.reshape(3, 12, 2, 4).transpose(0, 2, 1, 3) for half in (both[:, :8], both[:, 8:]))
    full = np.einsum("chtk,chsk->chts", q, k)
    return open_latents(path), (full / full.sum(axis=-1, keepdims=True)).mean(axis=(0, 1))


def test_weights_are_exact(factors):
    stored, full_ts = factors
    found = read_factors(stored)
    assert found.genes == GENES and found.n_cells == 3
    np.testing.assert_allclose(gene_weights(found, ["G3", "G7"]), 12 * full_ts[:, [3, 7]].T, rtol=1e-4)
    weight, names = set_weights(found, {"B": {"G0", "G1"}, "A": set(GENES[2:]), "none": {"X"}})
    assert names == ("A", "B")
    np.testing.assert_allclose(weight[1, 0], full_ts[:2, 2:].sum(axis=1).mean() / (10 / 12), rtol=1e-4)
    np.testing.assert_allclose(weight[0, 1], full_ts[2:, :2].sum(axis=1).mean() / (2 / 12), rtol=1e-4)


def effects(seed: int = 0) -> Effects:
    """G0 drives G5 and G6, G1 drives G0; the rest is noise."""
    rng = np.random.default_rng(seed)
    delta = 0.05 * rng.standard_normal((10, 12))
    delta[0, [5, 6]], delta[1, 0] = 2.0, -2.0
    delta[np.arange(10), np.arange(10)] = -3.0
    return Effects(np.array(GENES[:10]), np.array(["A"] * 10), GENES, delta.astype(np.float32), "made")


def test_edges_are_those_that_perturbing_makes(factors):
    found = interventions(effects())
    table = edge_table(found, None, [interventions(effects(1)), interventions(effects(2))])
    called = table[table["called"]]
    assert set(called["source"] + called["target"]) >= {"G0G5", "G0G6", "G1G0"} and len(called) <= 6
    first = called.set_index(["source", "target"])
    assert first.loc[("G1", "G0"), "direction"] == "A drives B" and first.loc[("G1", "G0"), "stability"] == 1
    assert not (table["source"] == table["target"]).any()  # a gene on itself is no edge


def test_agreement_is_whole_for_weights_that_follow_the_effects_and_chance_for_others():
    found = interventions(effects())
    assert compare(np.abs(found.z_rg), found).shared == 1
    other = compare(np.random.default_rng(0).random(found.z_rg.shape), found)
    assert other.shared < 0.5 and abs(other.spearman) < 0.3 and other.n_edges == 110


def test_comparison_of_files_and_what_is_refused(factors, stored):
    result = compare_attention(factors[0], effects(), gene_sets={"A": set(GENES[:6]), "B": set(GENES[6:])})
    assert len(result.sets) == 4 and {"attention", "effect"} <= set(result.sets)
    assert result.agreement.n_edges == 110 and result.edges["attention"].notna().all()
    with pytest.raises(InputError, match="factors of linear attention"):
        read_factors(stored)
    with pytest.raises(InputError, match="at least 5"):
        interventions(Effects(np.array(["A"]), np.array(["l"]), ("A",), np.ones((1, 1)), "x"))
