"""What stands beside a score: control states that differ, mixed scales, fractional counts, labels that are missing."""

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from vc_eval.cells import inputs, rules
from vc_eval.cells.rows import RowMatrix
from vc_eval.cells.settings import Settings
from vc_eval.cells.states import notes_of
from vc_eval.errors import VcEvalError

CONTROL = "non-targeting"
GENES = [f"G{k:03d}" for k in range(120)]
LABELS = np.repeat([CONTROL, *GENES[:8]], [90, *[30] * 8])
IS_CONTROL = LABELS == CONTROL


def counts(seed, depth=1.0):
    base = np.random.default_rng(1).gamma(1.0, 3.0, len(GENES)) + 0.2
    effect = np.random.default_rng(2).normal(0, 0.8, (9, len(GENES))) * (
        np.random.default_rng(3).random((9, 120)) < 0.2
    )
    effect[0] = 0
    code = np.unique(LABELS, return_inverse=True)[1]
    code = np.where(IS_CONTROL, 0, code + 1)
    rng = np.random.default_rng(seed)
    size = rng.lognormal(0, 0.2, LABELS.size)
    return rng.poisson(base * np.exp(effect[code % 9]) * size[:, None] * depth)


def log1p(values):
    return np.log1p(values / values.sum(axis=1, keepdims=True) * 400)


def said(pred, real=None, **settings):
    real = log1p(counts(0)) if real is None else real
    sides = [inputs.make_cells(scipy.sparse.csr_matrix(x.astype(np.float32)), LABELS, GENES) for x in (pred, real)]
    result = rules.score_pair(*sides, settings=Settings(**settings))
    assert set(result.provenance) >= {"scale", "control_state"}
    return "\n".join(notes_of("mine", result.provenance))


def test_an_honest_prediction_has_no_note():
    assert said(log1p(counts(7))) == ""


def test_controls_that_are_cells_of_two_perturbations_or_moved_a_little_are_noted():
    honest, rng = log1p(counts(7)), np.random.default_rng(0)
    mixed = honest.copy()
    two = np.flatnonzero(np.isin(LABELS, [GENES[3], GENES[5]]))
    mixed[IS_CONTROL] = honest[rng.choice(two, IS_CONTROL.sum())]
    assert f"moved towards the real cells of '{GENES[5]}'" in said(mixed, controls=True)
    moved = honest.copy()
    moved[IS_CONTROL] *= 0.93
    assert "times what drawing cells explains" in said(moved, controls=True)


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_other_cells_of_the_same_controls_have_no_note(seed):
    assert said(log1p(counts(seed)), controls=True) == ""
    shallow = [log1p(counts(one, 0.08) + np.eye(len(LABELS), 120)) for one in (seed, seed + 50)]
    assert said(*shallow, controls=True) == ""


@pytest.mark.parametrize(("seed", "share"), [(41, 0.25), (42, 0.5), (43, 0.9)])
def test_cells_of_a_perturbation_among_the_controls_are_noted_by_its_name(seed, share):
    rng = np.random.default_rng(seed)
    honest, gene = log1p(counts(seed)), GENES[int(rng.integers(8))]
    rows = rng.choice(np.flatnonzero(IS_CONTROL), int(share * IS_CONTROL.sum()), replace=False)
    mixed = honest.copy()
    mixed[rows] = honest[rng.choice(np.flatnonzero(gene == LABELS), len(rows))]
    assert f"real cells of '{gene}'" in said(mixed, controls=True)


def test_permuted_swapped_shifted_and_mirrored_controls_are_noted():
    honest, rng = log1p(counts(7)), np.random.default_rng(0)
    permuted = honest.copy()
    permuted[IS_CONTROL] = permuted[IS_CONTROL][:, rng.permutation(len(GENES))]
    assert "differ from the real ones" in said(permuted)
    swapped = honest.copy()
    swapped[IS_CONTROL] = honest[rng.choice(np.flatnonzero(GENES[3] == LABELS), IS_CONTROL.sum())]
    assert f"nearer to the real cells of '{GENES[3]}'" in said(swapped)
    shifted = honest.copy()
    shifted[IS_CONTROL] += 0.6
    assert "more than a typical perturbation" in said(shifted)
    mirrored = honest.copy()
    mirrored[~IS_CONTROL] = np.maximum(2 * honest[IS_CONTROL].mean(axis=0) - honest[~IS_CONTROL], 0)
    assert "as if signs were turned" in said(mirrored)


def test_lost_genes_and_mixed_scales_are_noted():
    honest, raw = log1p(counts(7)), np.minimum(counts(7, 0.15), 14)
    lost = honest.copy()
    lost[:, 10:17] = 0
    assert "7 genes that the real controls express are zero" in said(lost)
    cells = honest.copy()
    cells[::3] = raw[::3]
    assert "cells hold whole numbers only" in said(cells)
    genes = honest.copy()
    genes[:, :40] = raw[:, :40]
    assert "genes hold whole numbers only" in said(genes)


def test_fractional_shallow_counts_are_not_taken_for_log_values_in_silence():
    def corrected(seed):
        return np.minimum(
            np.maximum(counts(seed, 0.5) - np.random.default_rng(seed).uniform(0, 0.4, (LABELS.size, 120)), 0), 14.5
        )

    text = said(corrected(7), corrected(0))
    assert "mine, real: values have fractions" in text and "mine, pred: values have fractions" in text


@pytest.mark.parametrize("column", ["target_gene", "context"])
@pytest.mark.parametrize("blank", [None, "", "  "])
@pytest.mark.parametrize("rule", ["vcc2025", "vcc2026", "full"])
def test_a_missing_label_in_a_grouping_column_is_refused_by_every_rule(column, blank, rule):
    both = []
    for seed in (0, 7):
        cells = inputs.make_cells(
            scipy.sparse.csr_matrix(counts(seed).astype(np.float32)),
            LABELS,
            GENES,
            contexts=np.where(np.arange(LABELS.size) % 2, "A", "B"),
        )
        cells.obs[column] = pd.Series(cells.obs[column].to_numpy(object), index=cells.obs_names)
        cells.obs.iloc[5, cells.obs.columns.get_loc(column)] = blank
        both.append(cells)
    with pytest.raises(VcEvalError, match="no label at 1 cells"):
        rules.score_pair(*both, rule=rule, settings=Settings(context_col="context"))


def test_narrow_types_are_widened_before_positions_add_up(tmp_path):
    truth = scipy.sparse.csr_matrix(np.minimum(counts(1) * 4, 500))
    half = truth.data // 2
    data = np.stack([half, truth.data - half], 1).ravel().astype(np.uint8)
    twice = scipy.sparse.csr_matrix((data, np.repeat(truth.indices, 2), truth.indptr * 2), shape=truth.shape)
    path = tmp_path / "twice.h5ad"
    anndata.AnnData(truth.astype(np.float32)).write_h5ad(path)
    with h5py.File(path, "a") as file:
        for name, values in (("data", data), ("indices", twice.indices), ("indptr", twice.indptr)):
            del file["X"][name]
            file["X"].create_dataset(name, data=values)
    for cells in (anndata.AnnData(twice), inputs.open_cells(path)):
        read = scipy.sparse.vstack([block for _, block in RowMatrix(cells, 100).blocks()])
        assert (read.toarray() == truth.toarray()).all()


@pytest.mark.parametrize("array", ["data", "indptr"])
def test_values_that_cannot_be_read_are_a_refusal_that_names_the_file(tmp_path, array):
    path = tmp_path / "cells.zarr"
    anndata.AnnData(scipy.sparse.csr_matrix(counts(1).astype(np.float32))).write_zarr(path)
    chunk = path / f"X/{array}/c/0"
    chunk.write_bytes(b"\0" * chunk.stat().st_size)
    with pytest.raises(VcEvalError, match=r"cells\.zarr': X: expected values that can be read.*damaged"):
        list(RowMatrix(inputs.open_cells(path), 100).blocks())


def test_float16_is_read(tmp_path):
    values = log1p(counts(1)).astype(np.float16)
    for name in ("csr", "dense"):
        path = tmp_path / f"{name}.h5ad"
        anndata.AnnData(
            scipy.sparse.csr_matrix(values.astype(np.float32)) if name == "csr" else values.astype(np.float32)
        ).write_h5ad(path)
        with h5py.File(path, "a") as file:
            group, key = (file["X"], "data") if name == "csr" else (file, "X")
            narrow = group[key][:].astype(np.float16)
            attributes = dict(group[key].attrs)
            del group[key]
            group.create_dataset(key, data=narrow).attrs.update(attributes)
        blocks = [block for _, block in RowMatrix(inputs.open_cells(path), 100).blocks()]
        assert blocks[0].dtype == np.float32
        assert (scipy.sparse.vstack(blocks).toarray() == values.astype(np.float32)).all()


def test_a_foreign_entry_of_the_cache_changes_no_number(tmp_path):
    def run(seed, cache):
        sides = [
            inputs.make_cells(scipy.sparse.csr_matrix(counts(s).astype(np.float32)), LABELS, GENES) for s in (7, seed)
        ]
        return rules.score_pair(*sides, settings=Settings(cache=cache, controls=True))

    plain = run(0, None)
    run(0, tmp_path)
    own = {path.name for path in tmp_path.iterdir()}
    run(1, tmp_path)
    others = sorted({path.name for path in tmp_path.iterdir()} - own)
    for name, other in zip(sorted(own), others, strict=True):  # sides and tables of the other real cells under this key
        (tmp_path / name).write_bytes((tmp_path / other).read_bytes())
    again = run(0, tmp_path)
    pd.testing.assert_frame_equal(plain.per_perturbation, again.per_perturbation)
    for name, result in plain.controls.items():
        pd.testing.assert_frame_equal(result.per_perturbation, again.controls[name].per_perturbation)
