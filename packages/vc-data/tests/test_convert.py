import json

import h5py
import numpy as np
import pandas as pd
import pytest
import vc_data.convert.source
from vc_data.convert.inspect import inspect_file
from vc_data.convert.run import convert
from vc_data.errors import ColumnError, ControlError, CountsError, GeneError, SourceError, TooFewError
from vc_data.genes.align import align_genes
from vc_data.genes.names import identify_genes
from vc_data.options import Columns, ConvertOptions
from vc_data.screen.file import read_screen
from vc_data.testing import LAYOUTS, make_foreign, write_foreign


def run(adata, folder, *, layout=None, **options):
    write_foreign(adata, folder / "toy.h5ad", **(layout or {}))
    report = convert(folder / "toy.h5ad", folder / "toy.zarr", ConvertOptions(overwrite=True, **options))
    return read_screen(folder / "toy.zarr"), report


@pytest.mark.parametrize(("name", "backed"), [*((n, True) for n in LAYOUTS), ("csr", False), ("csc", False)])
def test_every_layout_becomes_the_same_screen(foreign, screen, tmp_path, monkeypatch, name, backed):
    if backed:
        monkeypatch.setattr(vc_data.convert.source, "BLOCK_ELEMENTS", 100)
    layout = LAYOUTS[name]
    layer = layout.get("layer", "X")
    other, _ = run(foreign, tmp_path, layout=layout, layer=None if layer == "X" else layer, backed=backed)
    assert (other.X != screen.X).nnz == 0 and other.X.dtype == screen.X.dtype
    pd.testing.assert_frame_equal(other.obs, screen.obs)
    pd.testing.assert_frame_equal(other.var, screen.var)
    pd.testing.assert_frame_equal(other.uns["groups"], screen.uns["groups"])


def test_counts_labels_and_totals_are_the_sources(foreign, screen):
    rows = foreign.obs.loc[screen.obs_names]
    assert (screen.X.toarray() == foreign[screen.obs_names].X).all()
    expected = rows["target_gene"].astype(str).replace({"non-targeting": "control", "GENE1+GENE0": "GENE0+GENE1"})
    assert screen.obs["perturbation"].astype(str).tolist() == expected.tolist()
    assert screen.obs["target"].astype(str).tolist() == expected.tolist()
    assert screen.obs["total_counts"].tolist() == rows["total_counts_all_genes"].tolist()
    assert screen.obs["batch"].astype(str).tolist() == rows["gem_group"].astype(str).tolist()
    assert (screen.obs["mode"] == np.where(screen.obs["is_control"], 8, 0)).all()
    assert screen.obs["dose"].isna().all()
    header = json.loads(screen.uns["contract"])
    assert list(header["parents"]) == ["toy.h5ad"] and header["config"]["columns"]["perturbation"] == "target_gene"


def test_total_counts_are_row_sums_only_when_nothing_better_is_there(foreign, tmp_path):
    adata = foreign.copy()
    adata.obs = adata.obs.rename(columns={"total_counts_all_genes": "n_counts"})
    screen, report = run(adata, tmp_path)
    assert screen.obs["total_counts"].tolist() == screen.X.sum(axis=1).A1.tolist()
    assert any("--total-counts n_counts" in line for line in report.lines())
    screen, _ = run(adata, tmp_path, columns=Columns(total_counts="n_counts"))
    assert screen.obs["total_counts"].tolist() == adata.obs.loc[screen.obs_names, "n_counts"].tolist()


def test_total_counts_below_the_cells_own_counts_are_refused(foreign, tmp_path):
    adata = foreign.copy()
    adata.obs["total_counts_all_genes"] = 1.0
    with pytest.raises(ColumnError, match="--total-counts sum"):
        run(adata, tmp_path)


def test_cells_without_counts_label_or_line_are_dropped_and_reported(foreign, tmp_path):
    adata = foreign.copy()
    del adata.obs["total_counts_all_genes"]
    adata.X[0] = 0
    for column, row in (("target_gene", 1), ("cell_line", 2)):
        adata.obs[column] = adata.obs[column].astype(object)
        adata.obs.iloc[row, adata.obs.columns.get_loc(column)] = None
    screen, report = run(adata, tmp_path)
    assert report.dropped_cells == {"no perturbation label": 1, "no cell line": 1, "zero total counts": 1}
    assert set(adata.obs_names) - set(screen.obs_names) == {"cell0", "cell1", "cell2"}
    assert (screen.X.toarray() == adata[screen.obs_names].X).all()


def test_control_cells_need_no_label_where_a_column_marks_them(foreign, tmp_path):
    adata = foreign.copy()
    is_control = adata.obs["target_gene"] == "non-targeting"
    adata.obs["target_gene"] = adata.obs["target_gene"].astype(object).where(~is_control)
    adata.obs["is_control"] = is_control
    screen, report = run(adata, tmp_path)
    assert report.dropped_cells == {} and screen.obs["is_control"].sum() == is_control.sum()
    assert set(screen.obs["perturbation"].astype(str)) == {"control", "GENE0", "GENE1", "GENE2", "GENE0+GENE1"}


def test_a_screen_is_not_converted_again(screen, tmp_path):
    screen.write_h5ad(tmp_path / "s.h5ad")
    with pytest.raises(SourceError, match="Read it as it is"):
        convert(tmp_path / "s.h5ad", tmp_path / "s.zarr")


def test_several_columns_make_the_cell_line(foreign, tmp_path):
    screen, _ = run(foreign, tmp_path, columns=Columns(cell_line="cell_line,gem_group"))
    assert sorted(screen.obs["cell_line"].unique()) == ["K562_b1", "K562_b2", "RPE1_b1", "RPE1_b2"]


def test_doses_become_perturbations_where_a_compound_has_several(foreign, tmp_path):
    adata = foreign.copy()
    adata.obs["target_gene"] = adata.obs["target_gene"].astype(str).replace({"GENE1+GENE0": "(+)-JQ1"})
    adata.obs["perturbation_type"] = "drug"
    adata.obs["dose"] = np.where(adata.obs["gem_group"] == "b1", 0.5, 10.0)
    screen, report = run(adata, tmp_path)
    labels = set(screen.obs["perturbation"].astype(str))
    names = ("GENE0", "GENE1", "GENE2", "(plus)-JQ1")
    assert labels == {"control"} | {f"{n}@{d}" for n in names for d in ("0.5", "10")}
    assert set(screen.obs["target"].astype(str)) == {"control", *names}
    assert screen.obs["dose"].isna().tolist() == screen.obs["is_control"].tolist()
    assert (screen.obs["mode"] == 8).all() and any("NAME@DOSE" in line for line in report.lines())
    screen, _ = run(adata, tmp_path, dose_in_label=False)
    assert set(screen.obs["perturbation"].astype(str)) == {"control", *names}


def test_text_in_a_dose_column_is_ignored_when_guessed_and_refused_when_given(foreign, tmp_path):
    adata = foreign.copy()
    adata.obs["perturbation_type"], adata.obs["dose_val"] = "drug", "1+1"
    screen, report = run(adata, tmp_path)
    assert screen.obs["dose"].isna().all() and any("no numbers" in line for line in report.lines())
    with pytest.raises(ColumnError, match="--dose none"):
        run(adata, tmp_path, columns=Columns(dose="dose_val"))


def test_panel_decides_genes_and_order(foreign, tmp_path):
    panel = tmp_path / "panel.txt"
    panel.write_text("GENE3\nMISSING\nENSG00000000001.9\nGENE0\n")
    screen, report = run(foreign, tmp_path, panel=panel)
    assert screen.var_names.tolist() == ["GENE3", "MISSING", "ENSG00000000001", "GENE0"]
    assert screen.var["measured"].tolist() == [True, False, True, True]
    assert screen.var["symbol"].tolist() == ["GENE3", "MISSING", "GENE1", "GENE0"]
    expected = np.array(foreign[screen.obs_names].X)[:, [3, 0, 1, 0]]
    expected[:, 1] = 0
    assert (screen.X.toarray() == expected).all()
    # Library size stays that of all genes, and CP10k with it.
    assert screen.obs["total_counts"].tolist() == foreign.obs.loc[screen.obs_names, "total_counts_all_genes"].tolist()
    assert report.alignment["dropped"]["not in panel"]["n"] == 9
    assert json.loads(screen.uns["alignment"])["unmeasured"]["genes"] == ["MISSING"]


def test_alignment_at_conversion_is_that_of_align_genes(foreign, tmp_path):
    names = [f"GENE{i}" for i in (5, 2, 40, 7)]
    (tmp_path / "panel.txt").write_text("\n".join(names))
    _, report = run(foreign, tmp_path, panel=tmp_path / "panel.txt")
    genes = identify_genes(foreign.var)
    direct = align_genes(genes.symbols, names, gene_ids=genes.gene_ids).to_json()
    assert {key: report.alignment[key] for key in direct} == direct


@pytest.mark.parametrize("matrix", ["csr", "csc"])
@pytest.mark.parametrize(("how", "merge"), [("sum", np.add), ("max", np.maximum)])
def test_duplicated_genes_are_merged_by_the_rule(foreign, tmp_path, matrix, how, merge):
    adata = foreign.copy()
    ids = adata.var["gene_id"].tolist()
    ids[7] = ids[2]
    adata.var = pd.DataFrame(
        {"gene_name": adata.var["gene_name"].tolist()}, index=[f"{i}.{n}" for n, i in enumerate(ids)]
    )
    with pytest.raises(GeneError, match="--duplicates"):
        run(adata, tmp_path, layout={"matrix": matrix})
    screen, _ = run(adata, tmp_path, layout={"matrix": matrix}, duplicates=how)
    source = np.array(foreign[screen.obs_names].X)
    expected = np.delete(source, 7, axis=1)
    expected[:, 2] = merge(source[:, 2], source[:, 7])
    assert (screen.X.toarray() == expected).all()


def test_symbols_shared_by_two_ids_stay_two_genes(foreign, tmp_path):
    adata = foreign.copy()
    adata.var["gene_name"] = ["TBCE", "TBCE", *adata.var["gene_name"][2:]]
    screen, report = run(adata, tmp_path)
    assert screen.var_names[:2].tolist() == ["ENSG00000000000", "ENSG00000000001"]
    assert screen.var["symbol"].tolist()[:2] == ["TBCE", "TBCE"]
    assert any("named by their id" in line for line in report.lines())


def test_repeated_cell_names_are_refused_or_numbered(foreign, tmp_path):
    adata = foreign.copy()
    adata.obs_names = [f"cell{i // 2}" for i in range(adata.n_obs)]
    with pytest.warns(UserWarning), pytest.raises(SourceError, match="--make-unique"):
        run(adata, tmp_path)
    with pytest.warns(UserWarning):
        screen, _ = run(adata, tmp_path, make_unique=True)
    assert screen.n_obs == adata.n_obs and screen.obs_names.is_unique


def test_normalised_values_are_refused_and_the_layer_with_counts_is_named(foreign, tmp_path):
    with pytest.raises(CountsError) as caught:
        run(foreign, tmp_path, layout={"layer": "counts"})
    for word in ("toy.h5ad", "fractional", "log1p-normalised", "--layer counts"):
        assert word in str(caught.value)
    with pytest.raises(CountsError, match="one of them"):
        run(foreign, tmp_path, layer="umis")


def test_of_two_layers_of_whole_numbers_none_is_recommended(foreign, tmp_path):
    write_foreign(foreign, tmp_path / "toy.h5ad", layer="counts")
    with h5py.File(tmp_path / "toy.h5ad", "r+") as file:
        file.copy("layers/counts", "layers/spliced")
    with pytest.raises(CountsError, match="'counts', 'spliced' hold whole numbers"):
        convert(tmp_path / "toy.h5ad", tmp_path / "toy.zarr")


@pytest.mark.parametrize("column", [{"mode": "crispri"}, {"cell_line": "K562"}])
def test_one_value_given_where_a_column_belongs_names_the_other_flag(foreign, tmp_path, column):
    (key, value), *_ = column.items()
    with pytest.raises(ColumnError, match=f"--{key.replace('_', '-')}-name {value}"):
        run(foreign, tmp_path, columns=Columns(**column))


def test_a_file_without_counts_is_told_so_before_it_is_asked_for_controls(foreign, tmp_path):
    adata = foreign[foreign.obs["target_gene"] != "non-targeting"].copy()
    with pytest.raises(ControlError, match="--control"):
        run(adata, tmp_path)
    adata.X = adata.X.astype(np.float32) - 0.5
    with pytest.raises(CountsError, match="a negative value") as caught:
        run(adata, tmp_path)
    assert "z-scores" in str(caught.value) and "--control" not in str(caught.value)


def test_is_control_that_contradicts_the_labels_is_refused(foreign, tmp_path):
    adata = foreign.copy()
    adata.obs["is_control"] = (adata.obs["target_gene"] == "non-targeting") & (adata.obs["gem_group"] == "b1")
    adata.obs["target_gene"] = adata.obs["target_gene"].astype(str).replace({"non-targeting": "ctrl"})
    with pytest.raises(ControlError, match="is_control"):
        run(adata, tmp_path)


def test_too_few_conditions_are_refused(foreign, tmp_path):
    one = foreign[foreign.obs["target_gene"].isin(["non-targeting", "GENE0"])].copy()
    with pytest.raises(TooFewError, match="three perturbations"):
        run(one, tmp_path)
    # One perturbation in three contexts is enough.
    screen, _ = run(one, tmp_path, columns=Columns(cell_line="cell_line,gem_group"))
    assert screen.obs["perturbation"].nunique() == 2


def test_memory_is_bounded_by_the_block_not_by_the_matrix(tmp_path, monkeypatch):
    """Blocks of a dense matrix are never larger than asked for."""
    adata = make_foreign(cells_per_group=10)
    seen = []
    monkeypatch.setattr(vc_data.convert.source, "BLOCK_ELEMENTS", 120)
    monkeypatch.setattr(
        "vc_data.convert.counts.iter_rows", lambda m, **how: _watch(vc_data.convert.source.iter_rows(m, **how), seen)
    )
    run(adata, tmp_path, layout={"matrix": "dense"})
    assert max(seen) == 10 and sum(seen) == adata.n_obs


def _watch(blocks, seen):
    for block in blocks:
        seen.append(block.shape[0])
        yield block


def test_gzip_counts_read_in_parallel_are_those_of_h5py(foreign, tmp_path, monkeypatch):
    monkeypatch.setattr(vc_data.convert.source, "BLOCK_ELEMENTS", 1000)
    path = tmp_path / "gzip.h5ad"
    write_foreign(foreign, path, matrix="csr")
    with h5py.File(path, "r+") as file:
        for name in ("data", "indices"):
            values = file[f"X/{name}"][:]
            del file[f"X/{name}"]
            file["X"].create_dataset(name, data=values, chunks=(700,), compression="gzip")
    with h5py.File(path) as file:
        chunk = file["X/indices"].id.get_chunk_info(1)
    convert(path, tmp_path / "gzip.zarr")
    write_foreign(foreign, tmp_path / "plain.h5ad", matrix="csr")
    convert(tmp_path / "plain.h5ad", tmp_path / "plain.zarr")
    one, two = (read_screen(tmp_path / f"{name}.zarr") for name in ("gzip", "plain"))
    assert (one.X != two.X).nnz == 0 and (one.obs_names == two.obs_names).all()
    content = bytearray(path.read_bytes())
    for i in range(chunk.byte_offset + chunk.size // 2, chunk.byte_offset + chunk.size // 2 + 8):
        content[i] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(SourceError, match="damaged"):
        convert(path, tmp_path / "flipped.zarr")
    assert not list(tmp_path.glob("*flipped*"))


def spoil_chunk(folder):
    (folder / "X/c/0/0").write_bytes(b"\0" * 40)


def spoil_column(folder):
    chunk = folder / "obs/target_gene/codes/c/0"
    chunk.write_bytes(b"\x55" * chunk.stat().st_size)


def declare(times, place):
    def spoil(folder):
        head = folder / "zarr.json"
        read = json.loads(head.read_text())
        array = read["consolidated_metadata"]["metadata"][place]
        array["shape"] = [array["shape"][0] * times]
        head.write_text(json.dumps(read))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_chunk, "damaged"),
        (spoil_column, "damaged"),
        (declare(10**12, "obs/target_gene/codes"), "is declared to have"),
        (declare(2, "obs/target_gene/codes"), "damaged"),
    ],
)
def test_bytes_that_no_library_can_read_are_a_refusal(foreign, tmp_path, spoil, words):
    foreign.obs["target_gene"] = foreign.obs["target_gene"].astype("category")
    foreign.write_zarr(tmp_path / "toy.zarr")
    spoil(tmp_path / "toy.zarr")
    with pytest.raises(SourceError, match=words):
        inspect_file(tmp_path / "toy.zarr", options=ConvertOptions())
    with pytest.raises(SourceError, match=words):
        convert(tmp_path / "toy.zarr", tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()


def drugs(foreign, doses, column="dose", **columns):
    adata = foreign.copy()
    n = adata.n_obs
    adata.obs[column] = [doses[i % len(doses)] for i in range(n)]
    for name, values in columns.items():
        adata.obs[name] = [values[i % len(values)] for i in range(n)]
    return adata


@pytest.mark.parametrize(
    ("doses", "asked"),
    [
        (["<1uM", "1uM"], "doses '<1uM' of 'dose' are read as their numbers"),
        ([0.0, 1.0], "have dose 0"),
        ([1.0, None], "have no dose in 'dose'"),
    ],
)
def test_doses_that_may_mean_something_else_are_asked_about(foreign, tmp_path, doses, asked):
    _, report = run(drugs(foreign, doses), tmp_path, columns=Columns(mode_name="drug"))
    assert any(asked in line for line in report.lines())


def test_logarithms_are_no_doses_and_a_columns_name_may_hold_the_unit(foreign, tmp_path):
    with pytest.raises(ColumnError, match="amounts of 0 or more, found -2: logarithms"):
        run(drugs(foreign, [-2.0, 1.0]), tmp_path, columns=Columns(mode_name="drug"))
    _, report = run(drugs(foreign, [1.0, 10.0], "dose_nM"), tmp_path, columns=Columns(mode_name="drug", dose="dose_nM"))
    assert "doses are in 'nm'" in report.lines()


def test_words_of_modes_and_kinds_of_cells_that_are_pooled_are_asked_about(foreign, tmp_path):
    adata = drugs(foreign, [1.0], perturbation_type=["CRISPRi", "weird"], cell_type=["T", "B"])
    screen, report = run(adata, tmp_path)
    asked = [line for line in report.lines() if line.startswith("question")]
    assert any("does not tell how 'weird' acts" in line for line in asked)
    assert any("column 'cell_type' ('B', 'T') is pooled over" in line for line in asked)
    assert set(screen.obs.loc[~screen.obs["is_control"], "mode"]) == {0, 8}
