"""Small files in the shape of public bug reports; each holds a screen whose truth is recomputed from the file itself."""

import os
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
from vc_data.cli.main import main
from vc_data.convert.formats import open_source
from vc_data.convert.run import convert
from vc_data.errors import ColumnError, ControlError, CountsError, GeneError, SourceError
from vc_data.genes.tables import read_panel
from vc_data.options import Columns, ConvertOptions
from vc_data.screen.file import read_screen
from vc_data.split import by_perturbation, by_scaffold, check_corpus, follow, read_structures
from vc_data.split.leakage import LeakError


@pytest.fixture(scope="session")
def cases(shared, tmp_path_factory):
    """Folder with the files of all generators that concern vc-data."""
    folder = shared.parent / "cases"
    if not folder.is_dir():
        pytest.skip("no folder shared/cases beside the workspace")
    out = tmp_path_factory.mktemp("cases")
    numbers = ("01", "02", "03", "04", "05", "07", "08", "09", "10", "14", "16", "17", "18", "19", "24", "26", "28")
    program = "import runpy, sys\nfor path in sys.argv[1:]:\n    runpy.run_path(path)"
    scripts = [str(folder / f"make_{number}.py") for number in numbers]
    environment = {**os.environ, "CASES_OUT": str(out), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *scripts], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return out


@pytest.fixture
def run(cases, tmp_path):
    """Converts one of the files and gives the source, the screen and the report."""

    def convert_case(name, **options):
        report = convert(cases / name, tmp_path / "s.zarr", ConvertOptions(overwrite=True, **options))
        return read_screen(tmp_path / "s.zarr"), report

    return convert_case


def same_counts(screen, truth):
    """Every cell of the screen has the counts of its namesake in a cells x genes frame."""
    expected = truth.loc[screen.obs_names, screen.var_names].to_numpy()
    return np.array_equal(screen.X.toarray(), expected)


def frame(path, matrix=None):
    adata = anndata.read_h5ad(path)
    return pd.DataFrame(
        np.asarray((adata.X if matrix is None else matrix).todense()), index=adata.obs_names, columns=adata.var_names
    )


def targets(screen):
    return set(screen.obs.loc[~screen.obs["is_control"], "target"].astype(str))


@pytest.mark.parametrize("letter", ["", "b", "c", "d", "e", "f", "g", "h"])
def test_01_cells_without_a_label_are_neither_controls_nor_perturbed(cases, run, letter):
    screen, report = run(f"01{letter}.h5ad")
    source = anndata.read_h5ad(cases / f"01{letter}.h5ad")
    labels = source.obs["perturbation"].astype(str)
    assert report.n_controls == (labels == "non-targeting").sum()
    assert report.dropped_cells == {"no perturbation label": int(source.obs_names.str.startswith("u").sum())}
    assert not screen.obs_names.str.startswith("u").any() and same_counts(screen, frame(cases / f"01{letter}.h5ad"))


@pytest.mark.parametrize(
    "name", ["pipe", "comma", "semi", "amp", "colon", "dash", "slash", "spaceplus", "und", "dunder"]
)
def test_02_pairs_of_known_genes_are_split_at_any_separator(run, name):
    screen, _ = run(f"02_{name}.h5ad")
    pairs = {target for target in targets(screen) if "+" in target}
    assert pairs == {
        "AHR+FEV", "AHR+KLF1", "CEBPE+ETS2", "CBL+UBASH3B", "MDM2+TP53", "JUN+MYC", "BRAF+KRAS", "CDK4+RB1",
    }  # fmt: skip
    assert len(targets(screen)) == 19


def test_02_pairs_of_which_half_is_known_stop_and_name_the_flag(run):
    with pytest.raises(ColumnError, match="--combo-separator"):
        run("02_undhvg.h5ad")
    screen, _ = run("02_undhvg.h5ad", combo_separator="_")
    assert {"AHR+FEV", "AHR+KLF1"} <= targets(screen)


@pytest.mark.parametrize("style", ["dash", "sg", "us", "replogle", "g", "dot", "guidecol"])
def test_03_guides_become_their_gene_and_are_kept(cases, run, style):
    screen, _ = run(f"03_{style}.h5ad")
    source = anndata.read_h5ad(cases / f"03_{style}.h5ad").obs
    given = source["guide_id" if style == "guidecol" else "perturbation"].astype(str)
    perturbed = ~screen.obs["is_control"].to_numpy()
    assert len(targets(screen)) == 12
    assert (screen.obs["guide"].astype(str)[perturbed] == given[screen.obs_names[perturbed]]).all()
    assert screen.obs["is_control"].sum() == given.str.startswith("non-targeting").sum()


def test_04_a_second_control_label_is_refused_or_left_out(run):
    for name, label in (("04.h5ad", "DMSO"), ("04b.h5ad", "non-targeting")):
        with pytest.raises(ControlError, match="--drop 'control'"):
            run(name, columns=Columns(control=(label,)))
        _, report = run(name, columns=Columns(control=(label,)), drop=("control",))
        assert report.n_controls == 150 and report.dropped_cells == {"left out by --drop": 120}


def test_05_compounds_keep_their_identity(run):
    assert {"(plus)-JQ1", "Ca2plus ionophore", "NADplus"} < targets(run("05.h5ad")[0])
    assert len(targets(run("05b.h5ad")[0])) == 10
    assert targets(run("05c.h5ad")[0]) == {"NAD", "NADplus", "Tofacitinib", "AT7519"}


def test_07_small_types_are_widened_before_they_are_summed(cases, run):
    truth = np.load(cases / "07_dup8_truth.npy")
    screen, _ = run("07_dup8.h5ad")
    names = anndata.read_h5ad(cases / "09_ok.h5ad")
    assert same_counts(screen, pd.DataFrame(truth, index=names.obs_names, columns=names.var_names))
    for kind in ("f16csr", "f16dense", "be", "be_all", "i64", "negzero"):
        assert same_counts(run(f"07_{kind}.h5ad")[0], frame(cases / "09_ok.h5ad")), kind
    for kind in ("bool", "cplx"):
        with pytest.raises(CountsError, match="raw counts"):
            run(f"07_{kind}.h5ad")


def test_08_counts_of_old_files_are_found(cases, run):
    with pytest.raises(CountsError, match="--layer raw"):
        run("08_v06.h5ad")
    assert same_counts(run("08_v06.h5ad", layer="raw")[0], frame(cases / "09_ok.h5ad"))
    assert run("08_v07.h5ad")[1].dropped_cells == {"no perturbation label": 5}


def test_09_formats_that_people_have(cases, run, tmp_path):
    truth = frame(cases / "09_ok.h5ad")
    table = anndata.read_h5ad(cases / "09_ok.h5ad").obs
    table.to_csv(tmp_path / "cells.csv")
    for name in ("09_v2.zarr", "09_v3.zarr"):
        assert same_counts(run(name)[0], truth)
    for name in ("09_10x.h5", "09_mtx"):
        with pytest.raises(ColumnError, match="--obs-table"):
            run(name)
        assert same_counts(run(name, obs_table=tmp_path / "cells.csv")[0], truth)
    assert same_counts(run("09_nox.h5ad", layer="counts")[0], truth)
    lines = {
        "09.loom": "read_loom",
        "09.h5mu": "mudata",
        "09_h5mu.h5ad": "mudata",
        "09.csv": "read_csv",
        "09.h5ad.gz": "gunzip",
    }
    for name, line in lines.items():
        with pytest.raises(SourceError, match=line):
            run(name)


@pytest.mark.parametrize("name", ["TRUE", "lower", "yes", "nullable", "int", "cat", "mixed", "T"])
def test_10_true_and_false_in_any_spelling(cases, run, name):
    screen, _ = run(f"10_{name}.h5ad")
    labels = anndata.read_h5ad(cases / f"10_{name}.h5ad").obs["perturbation"].astype(str)
    assert set(screen.obs_names[screen.obs["is_control"]]) == set(labels.index[labels == "unmod"])


def test_10_a_count_of_control_guides_is_no_rule_for_controls(run):
    with pytest.raises(ControlError, match="--control"):
        run("10_count.h5ad")
    assert run("10_count.h5ad", columns=Columns(control=("unmod",)))[1].n_controls == 150


def test_14_only_gene_expression_is_counted(cases, run):
    screen, report = run("14.h5ad")
    source = anndata.read_h5ad(cases / "14.h5ad")
    genes = source[:, source.var["feature_types"] == "Gene Expression"]
    assert same_counts(screen, frame(cases / "14.h5ad")) and screen.n_vars == genes.n_vars
    totals = pd.Series(np.asarray(genes.X.sum(axis=1)).ravel(), index=genes.obs_names)
    assert (screen.obs["total_counts"] == totals[screen.obs_names]).all()
    assert any("6 Antibody Capture, 4 CRISPR Guide Capture" in line for line in report.lines())


def test_16_names_of_genes_that_tools_have_changed(run):
    for name in ("16_case.h5ad", "16_ens.h5ad", "16_r.h5ad"):
        columns = Columns(perturbation="gene_id") if "ens" in name else Columns()
        screen, report = run(name, columns=columns)
        assert targets(screen) <= set(screen.var_names), name
        assert any("targets are measured genes" in line for line in report.lines())
    assert any("Excel" in line for line in run("16_excel.h5ad")[1].questions)
    with pytest.raises(GeneError, match="Excel"):
        run("16_exceldup.h5ad")


def test_17_18_names_of_matrices_have_namespaces(cases, run):
    truth = frame(cases / "09_ok.h5ad")
    assert same_counts(run("17_layer.h5ad", layer="raw/counts")[0], truth)
    assert same_counts(run("17_df.h5ad", layer="counts")[0], truth)
    with pytest.raises(SourceError, match="is whole"):
        run("17_missing.h5ad")
    assert same_counts(run("18_layerraw.h5ad", layer="raw")[0], truth)
    with pytest.raises(CountsError, match="--layer raw/X or --layer layers/raw"):
        run("18_both.h5ad", layer="raw")
    assert same_counts(run("18_both.h5ad", layer="layers/raw")[0], truth)
    assert same_counts(run("18_both.h5ad", layer="raw/X")[0], 3 * truth)
    assert same_counts(run("18_layerX.h5ad", layer="layers/X")[0], truth)


def test_19_structures_meet_the_names_of_the_screen(cases, run):
    pytest.importorskip("rdkit")
    screen, _ = run("19.h5ad")
    assert len(targets(screen)) == 9
    splits = by_scaffold(screen, read_structures(cases / "19.tsv"), min_cells=1)
    assert splits.config["n_structures"] == splits.config["n_compounds"] == 9
    assert not splits.part("unused")


def test_24_one_gene_is_one_target_in_all_screens(cases, tmp_path):
    screens = []
    for name in ("24_sym", "24_ens", "24_case"):
        convert(cases / f"{name}.h5ad", tmp_path / f"{name}.zarr")
        screens.append(read_screen(tmp_path / f"{name}.zarr"))
    one, *others = screens
    splits = by_perturbation(one, seed=3)
    held = {label for _, label in splits.part("test")}
    for other in others:
        followed = follow(other, [(one, splits)])
        assert {label for _, label in followed.part("test")} == held
        check_corpus([(one, splits), (other, followed)])
        with pytest.raises(LeakError):
            check_corpus([(one, splits), (other, by_perturbation(other, seed=4))])


def test_26_values_that_are_no_counts(cases, run):
    for name in ("soup", "em", "seurat", "nan", "neg", "cpmround", "logfloor"):
        with pytest.raises(CountsError):
            run(f"26_{name}.h5ad")
    for name in ("nocells", "nogenes"):
        with pytest.raises(SourceError, match="cells and genes"):
            run(f"26_{name}.h5ad")
    screen, report = run("26_soup.h5ad", round=True)
    assert same_counts(screen, np.rint(frame(cases / "26_soup.h5ad")))
    assert any("--round" in line for line in report.lines())
    with pytest.raises(CountsError):
        run("26_seurat.h5ad", round=True, layer="raw")


def test_28_lists_are_read_alike_and_shared_symbols_are_nobodys(cases, run):
    plain = anndata.read_h5ad(cases / "28.h5ad").var_names.tolist()
    for name in ("28_bom.txt", "28_header.txt", "28_quoted.csv", "28_crlf.txt"):
        assert read_panel(cases / name) == plain, name
    with pytest.raises(GeneError, match="TP53"):
        run("28.h5ad", panel=cases / "28_dup.txt")
    assert run("28_two.h5ad")[1].n_controls == 160
    _, report = run("28_sharedsym.h5ad")
    assert "19 of 20 targets are measured genes" in report.statements


def test_inspect_says_it_before_anything_is_written_and_strict_refuses(cases, tmp_path, capsys):
    assert main(["inspect", str(cases / "24_case.h5ad")]) == 0
    assert "(by case, from Braf)" in capsys.readouterr().out
    assert main(["convert", str(cases / "16_excel.h5ad"), str(tmp_path / "x.zarr"), "--strict"]) == 2
    assert "--strict" in capsys.readouterr().err and not list(tmp_path.iterdir())
    with open_source(cases / "09_ok.h5ad") as source:
        assert source.matrix_names() == ["X"]
