"""Equal tokens of the published encoder go through its blocks once: the same numbers, per gene, as when every gene does.

Losses and gradients of all stages are compared with the torch twin in `test_parity.py`, in both ways.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from vc_model.biojepa.config import BioJepaConfig
from vc_model.biojepa.encoder import room_for
from vc_model.biojepa.stages import bind
from vc_model.table.effects import Action

ROOM = 24


@pytest.fixture(scope="module")
def encode(faithful, parts, quick_jit):
    """Cells -> tokens with room for ROOM genes, and the latents of every gene's own token."""
    tree = parts(faithful)["encoder"]
    once = quick_jit(lambda x, t, m: bind("encoder", replace(faithful, room=ROOM), tree).tokens(x, t, masked=m))
    every = quick_jit(lambda x, t, m: bind("encoder", faithful, tree)(x, t, masked=m))
    return lambda *cells: (once(*cells), np.asarray(every(*cells)))


def draw(n_genes, shown, hidden, seed):
    """A cell that expresses so many genes that are shown and so many that are masked, and a second one."""
    rng = np.random.default_rng(seed)
    x, masked = np.zeros((2, n_genes), np.float32), rng.random((2, n_genes)) < 0.1
    masked[0] = False
    order = rng.permutation(n_genes)
    x[0, order[: shown + hidden]] = rng.gamma(2, 1, shown + hidden) + 0.1
    masked[0, order[shown : shown + hidden]] = True
    x[1, :5] = 1
    return x, np.array([7, 9], np.float32), masked


@settings(deadline=None)
@given(st.integers(0, ROOM), st.integers(0, 30), st.integers(0, 99))
def test_latents_are_those_of_every_gene(encode, faithful, shown, hidden, seed):
    cells = draw(faithful.n_genes, shown, hidden, seed)
    tokens, every = encode(*cells)
    np.testing.assert_allclose(tokens.spread(tokens.z), every, atol=2e-5)
    assert tokens.z.shape[1] == ROOM + 2
    # Every gene is counted once, at its own token.
    for weight, place in zip(np.asarray(tokens.weight), np.asarray(tokens.place), strict=True):
        np.testing.assert_array_equal(np.bincount(place, minlength=ROOM + 2), weight)


def test_a_cell_without_room_is_nan_and_its_neighbour_is_not(encode, faithful):
    tokens, _ = encode(*draw(faithful.n_genes, ROOM + 1, 0, 0))
    assert np.isnan(tokens.z[0]).all() and np.isfinite(tokens.z[1]).all()


@pytest.mark.parametrize("room", [1, 30, 500, 9_000])
@pytest.mark.parametrize("share", [0.01, 0.234, 0.9])
def test_room_holds_the_genes_that_a_mask_leaves(room, share):
    enough = room_for(room, share)
    assert enough <= room and binom.sf(enough, room, share) <= 1e-15
    assert room_for(room, 1) == room


@given(st.integers(16, 20_000), st.floats(0, 1))
def test_a_model_for_cells_has_room_for_them(n_genes, share):
    most = int(share * n_genes)
    cfg = BioJepaConfig.tiny(n_genes, faithful=True).for_cells(most)
    assert cfg.room is None or most <= cfg.room < n_genes
    assert cfg.room is not None or most >= 0.7 * n_genes
    assert BioJepaConfig.tiny(n_genes).for_cells(most).room is None


def test_repaired_tokens_differ_so_there_is_no_room():
    with pytest.raises(ValueError, match="no two tokens are equal"):
        BioJepaConfig.tiny(faithful=False, room=8)


def test_predictions_are_those_of_every_gene(fitted, monkeypatch):
    model, actions = fitted[True], [Action(("A",), 0), Action(("A", "C"), 0)]
    cells = model.cells.of("line")
    assert model.config.for_cells(np.count_nonzero(cells[0], axis=1).max()).room is not None
    once, vectors = model._effects(*cells, actions), model.encode_cells("line")
    monkeypatch.setattr(BioJepaConfig, "for_cells", lambda self, most_expressed: self)
    np.testing.assert_allclose(once, model._effects(*cells, actions), atol=1e-5 * np.abs(once).max())
    np.testing.assert_allclose(vectors, model.encode_cells("line"), atol=1e-5)
