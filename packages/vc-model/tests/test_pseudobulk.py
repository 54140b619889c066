import json

import numpy as np
import pytest
from vc_model.contracts import read_screen
from vc_model.contracts.screen import slices
from vc_model.errors import ContractError, TableError
from vc_model.table.pseudobulk import load_conditions, load_control_cells, load_tables


def log1p_cp10k(adata):
    """Dense reference: divide by total_counts, not by the row sum."""
    return np.log1p(adata.X.toarray() / adata.obs["total_counts"].to_numpy()[:, None] * 1e4)[:, :5]


def mean_of(adata, splits, role, line, batch=None):
    roles = ("input", "reference") if role == "both" else (role,)
    names = {name for each in roles for name in splits["controls"][each]}
    pick = adata.obs_names.isin(names) & (adata.obs["cell_line"] == line)
    if batch is not None:
        pick &= adata.obs["batch"] == batch
    return log1p_cp10k(adata)[pick.to_numpy() if hasattr(pick, "to_numpy") else pick].mean(axis=0)


def test_delta_is_batch_matched_and_falls_back_to_the_line(tiny, caplog):
    screen, path, adata = tiny()
    splits = json.loads(path.read_text())
    train, val, test = load_tables(screen, path)
    x = log1p_cp10k(adata)
    row = {label: at for at, label in enumerate(train.conditions.labels)}
    assert set(row) == {"A|G0", "A|G0+G1", "B|G0"}
    assert (val.labels, test.labels) == (("A|G1",), ("A|G2",))
    assert train.genes == ("G0", "G1", "G2", "G3", "G4")
    # A|G0: four cells in b1, two in b2.
    cells = (adata.obs["cell_line"] == "A") & (adata.obs["perturbation"] == "G0")
    for matrix, role in ((train.half_pg, "reference"), (train.check_pg, "input"), (train.delta_pg, "both")):
        b1, b2 = (mean_of(adata, splits, role, "A", batch) for batch in ("b1", "b2"))
        np.testing.assert_allclose(
            matrix[row["A|G0"]], x[cells].mean(axis=0) - (4 * b1 + 2 * b2) / 6, rtol=1e-5, atol=1e-5
        )
    # Three reference controls in each of b1 and b2: 1 / ((4/6)^2 / 3 + (2/6)^2 / 3); with those of input, six.
    assert train.n_controls_p[row["A|G0"]] == pytest.approx(1 / ((16 / 36) / 6 + (4 / 36) / 6))
    assert train.n_half_p[row["A|G0"]] == pytest.approx(1 / ((16 / 36) / 3 + (4 / 36) / 3))
    assert train.n_cells_p[row["A|G0"]] == 6
    # B|G0: its two cells in b4 have no control there and meet all controls of B.
    cells = (adata.obs["cell_line"] == "B") & (adata.obs["perturbation"] == "G0")
    expected = x[cells].mean(axis=0) - mean_of(adata, splits, "both", "B")
    np.testing.assert_allclose(train.delta_pg[row["B|G0"]], expected, rtol=1e-5, atol=1e-5)
    assert train.notes == {"batches_without_reference": 1, "cells_without_batch_reference": 2}
    assert "1 batch(es) have no reference control" in caplog.text


@pytest.mark.parametrize("suffix", [".zarr", ".h5ad"])
def test_control_cells_are_input_controls_of_the_screen(tiny, suffix):
    screen, path, adata = tiny(suffix=suffix)
    inputs = json.loads(path.read_text())["controls"]["input"]
    genes = ("G4", "G0")
    cells = load_control_cells(screen, path, genes, 100)
    x = log1p_cp10k(adata)
    for line in cells.lines:
        here = np.flatnonzero((adata.obs["cell_line"] == line) & adata.obs_names.isin(inputs))
        found = cells.x_ng[cells.line_n == cells.lines.index(line)]
        # The same number of each line, in the order of the screen.
        assert len(found) == 2
        same = np.isclose(found[:, None], x[here][:, [4, 0]][None], rtol=1e-5).all(axis=2)
        assert same.any(axis=1).all() and same[0].argmax() < len(here) - 1 - same[1][::-1].argmax()


def test_rows_are_read_in_slices_with_small_gaps():
    rows = np.array([0, 1, 5, 40, 41, 1023, 1024])
    assert [part.tolist() for part in slices(rows)] == [[0, 1, 5], [40, 41], [1023], [1024]]
    assert [part.tolist() for part in slices(np.array([7]))] == [[7]]


def test_a_folder_is_opened_once_however_many_rows_are_read(tiny, monkeypatch):
    import zarr

    path, _, adata = tiny()
    screen = read_screen(path)
    monkeypatch.setattr(zarr, "open_group", None)
    for at in range(0, adata.n_obs, 3):
        np.testing.assert_array_equal(screen.rows(at, at + 2).toarray(), adata.X[at : at + 2].toarray())


@pytest.mark.parametrize("spoiled", ["data", "indices"])
def test_counts_whose_description_is_cut_are_a_refusal(tiny, spoiled):
    path, _, _ = tiny()
    screen = read_screen(path)
    (path / "X" / spoiled / "zarr.json").write_text('{"shape": [')
    with pytest.raises(ContractError, match="expected counts that can be read"):
        screen.rows(0, 2)


def test_contexts_describe_control_cells(tiny):
    screen, path, adata = tiny()
    splits = json.loads(path.read_text())
    contexts = load_tables(screen, path)[0].contexts
    assert contexts.cell_lines == ("A", "B")
    np.testing.assert_allclose(contexts.input_cg[0], mean_of(adata, splits, "input", "A"), rtol=1e-5)
    np.testing.assert_allclose(contexts.base_cg[0], mean_of(adata, splits, "both", "A"), rtol=1e-5)
    used = adata.obs_names.isin(splits["controls"]["input"] + splits["controls"]["reference"])
    x = log1p_cp10k(adata)
    line_a, line_b = ((used & (adata.obs["cell_line"] == line)).to_numpy() for line in "AB")
    np.testing.assert_allclose(contexts.detected_cg[0], (x[line_a] > 0).mean(axis=0), rtol=1e-5)
    # Within-batch sums of squares, plus ten degrees of freedom of all lines pooled.
    within, dof = {}, {}
    for name, mask in (("A", line_a), ("B", line_b)):
        batches = adata.obs["batch"].to_numpy()[mask]
        parts = [x[mask][batches == batch] for batch in np.unique(batches)]
        within[name] = sum(((part - part.mean(axis=0)) ** 2).sum(axis=0) for part in parts)
        dof[name] = sum(len(part) - 1 for part in parts)
    pooled = (within["A"] + within["B"]) / (dof["A"] + dof["B"])
    np.testing.assert_allclose(contexts.sigma2_cg[0], (within["A"] + 10 * pooled) / (dof["A"] + 10), rtol=1e-4)
    assert np.abs(contexts.loadings_cgk).max() <= 1 + 1e-4


def test_nothing_of_a_held_out_condition_enters(tiny):
    before, val_before, test_before = load_tables(*tiny()[:2])

    def poison(adata):
        held = adata.obs["perturbation"].isin(["G1", "G2"]).to_numpy()
        evaluation = np.zeros(adata.n_obs, dtype=bool)
        evaluation[np.flatnonzero(adata.obs["is_control"])[2::3]] = True
        counts = adata.X.toarray()
        counts[held | evaluation] = 7777
        adata.X = type(adata.X)(counts)
        adata.obs.loc[held | evaluation, "total_counts"] = 31.0

    after, val_after, test_after = load_tables(*tiny(change_screen=poison)[:2])
    for name in ("delta_pg", "half_pg", "check_pg", "n_cells_p", "n_controls_p", "n_half_p", "n_check_p"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    for name in ("input_cg", "base_cg", "sigma2_cg", "detected_cg", "loadings_cgk", "basis_gk"):
        np.testing.assert_array_equal(getattr(before.contexts, name), getattr(after.contexts, name))
    assert (val_before.labels, test_before.labels) == (val_after.labels, test_after.labels)


def test_conditions_for_a_fitted_model_carry_the_same_contexts(tiny):
    screen, path, _ = tiny()
    train, _, test = load_tables(screen, path)
    again = load_conditions(screen, path, "test", train.contexts)
    assert again.labels == test.labels
    assert again.actions == test.actions
    for name in ("input_cg", "base_cg", "sigma2_cg", "detected_cg", "loadings_cgk"):
        np.testing.assert_array_equal(getattr(again.contexts, name), getattr(train.contexts, name))


def test_a_screen_that_lacks_a_gene_of_the_model_is_refused(tiny):
    train = load_tables(*tiny()[:2])[0]

    def drop(adata):
        adata.var["measured"] = [True, True, False, True, True, False]

    with pytest.raises(TableError, match="G2"):
        load_conditions(*tiny(change_screen=drop)[:2], "test", train.contexts)


def test_mixed_doses_in_one_condition_are_refused(tiny):
    def mix(adata):
        adata.obs.loc["c20", "dose"] = 3.0

    with pytest.raises(TableError, match="one target, mode and dose"):
        load_tables(*tiny(change_screen=mix)[:2])


def test_a_line_without_input_controls_is_refused(tiny):
    def move(splits):
        of_b = [name for name in splits["controls"]["input"] if int(name[1:]) >= 30]
        splits["controls"]["input"] = [name for name in splits["controls"]["input"] if name not in of_b]
        splits["controls"]["reference"] += of_b

    with pytest.raises(TableError, match="'B'"):
        load_tables(*tiny(change_splits=move)[:2])
