"""Cells streamed to disk: the same bytes after a cut, genes outside the panel at the controls' mean, and the knobs."""

import anndata
import numpy as np
import pytest
from vc_model.contracts import PredictionFile
from vc_model.emit import stream
from vc_model.emit.cells import Knobs, draw_cells, make_source, repeated_rows
from vc_model.errors import TableError, VcModelError


@pytest.fixture(scope="module")
def source():
    rng = np.random.default_rng(0)
    count = rng.poisson(rng.gamma(2, 0.5, (80, 30)) * rng.gamma(1, 3, 30))
    return make_source(count, count.sum(axis=1) + 4000)


@pytest.fixture
def profiles(source):
    rng = np.random.default_rng(1)
    mean = source.mean_g[:20]
    effects = mean * rng.uniform(0.6, 1.4, (4, 20))
    return PredictionFile(
        model="m", space="log1p_cp10k", unit="profile", genes=tuple(f"g{at}" for at in range(20)),
        perturbation=np.array(["control", "a", "b", "c", "d"]), cell_line=np.array(["L"] * 5),
        is_control=np.arange(5) < 1, mean_ng=np.vstack([mean, effects]).astype(np.float32), sd_ng=None,
    )  # fmt: skip


WANTED = tuple(f"g{at}" for at in range(30))


def log(count, total):
    return np.log1p(1e4 * count / total[:, None])


def test_a_cut_run_ends_with_the_same_bytes(source, profiles, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    kinds = {"n_cells": 25, "seed": 3, "wanted": WANTED}
    assert stream.stream_cells(tmp_path / "a.h5ad", profiles, lambda _: source, **kinds) == 80 + 4 * 25
    emit, calls = stream._emit, []

    def cut(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return emit(*args)

    monkeypatch.setattr(stream, "_emit", cut)
    with pytest.raises(KeyboardInterrupt):
        stream.stream_cells(tmp_path / "b.h5ad", profiles, lambda _: source, **kinds)
    assert not (tmp_path / "b.h5ad").exists()
    stream.stream_cells(tmp_path / "b.h5ad", profiles, lambda _: source, **kinds)
    assert len(calls) == 6  # two were finished before the cut
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5ad", "b.h5ad"]


def test_genes_outside_the_panel_keep_the_mean_of_the_controls(source, profiles, tmp_path):
    stream.stream_cells(tmp_path / "a.h5ad", profiles, lambda _: source, 300, 0, wanted=WANTED, with_controls=False)
    cells = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert list(cells.uns["filled_genes"]) == [f"g{at}" for at in range(20, 30)]
    own = cells[cells.obs["perturbation"] == "a"].X.toarray()
    assert not len(repeated_rows(own)) and (own == np.rint(own)).all()
    total = own.sum(axis=1) + 4000.0
    np.testing.assert_allclose(log(own, total)[:, 20:].mean(axis=0), source.mean_g[20:], atol=0.02)
    with pytest.raises(VcModelError, match="1 absent"):
        stream.make_panel(("x", "g1"), WANTED)


def test_knobs_move_what_they_name(source):
    rng = lambda: np.random.default_rng(0)  # noqa: E731
    profile = source.mean_g * np.linspace(0.7, 1.3, 30)
    for amplitude in (0.0, 0.5, 1.5):
        made = log(*draw_cells(source, profile, 400, rng(), Knobs(amplitude=amplitude))).mean(axis=0)
        np.testing.assert_allclose(made, source.mean_g + amplitude * (profile - source.mean_g), atol=0.02)
    spread = [
        log(*draw_cells(source, source.mean_g, 400, rng(), Knobs(dispersion=d))).var(axis=0).sum()
        for d in (0, 0.5, 1, 2)
    ]
    assert spread == sorted(spread)
    with pytest.raises(TableError, match="amplitude: expected"):
        Knobs(amplitude=-1)


def test_more_cells_than_controls_are_still_all_different(source):
    count, _ = draw_cells(source, source.mean_g, 400, np.random.default_rng(0))
    assert not len(repeated_rows(count))
