"""Tables of effects become effects-v1: what is measured, replicated and ranked comes out as stated, and can be split."""

import json
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import vc_contracts
from vc_data.cli.main import main
from vc_data.effects.convert import convert_effects
from vc_data.effects.options import EffectsOptions
from vc_data.errors import OptionError, VcDataError

RANKS = Path(__file__).parents[4] / "shared/data/ranks/replogle2022_k562_rpe1_top1000_up_ranks.h5ad"
Z = EffectsOptions(values="z", mode_name="crispri", cell_line_name="K562")


def wide(folder: Path, **columns: object) -> Path:
    table = pd.DataFrame({"perturbation": ["A", "B", "control", "A"], "G1": [1.0, 2, 9, 3], "G2": [0.5, np.nan, 9, 4]})
    path = folder / "table.csv"
    table.assign(**columns).to_csv(path, index=False)
    return path


def read(path: Path) -> anndata.AnnData:
    return vc_contracts.read(path, "effects")


def test_wide_table_keeps_values_masks_and_replicates(tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    said = convert_effects(wide(tmp_path), out, Z)
    adata = read(out)
    assert adata.obs["perturbation"].astype(str).tolist() == ["A", "B", "A"]
    assert adata.obs["batch"].astype(str).tolist() == ["repeat.1", "unknown", "repeat.2"]
    np.testing.assert_array_equal(adata.X, [[1, 0.5], [2, 0], [3, 4]])
    np.testing.assert_array_equal(adata.layers["measured"], [[True, True], [True, False], [True, True]])
    assert adata.uns["space"] == "z"
    assert "control rows left out: 1" in said


def test_long_table_says_what_absent_means(tmp_path: Path) -> None:
    path = tmp_path / "de.tsv"
    pd.DataFrame({"perturbation": ["A", "A", "B"], "gene": ["G1", "G2", "G2"], "lfc": [1.0, -2, 3]}).to_csv(
        path, sep="\t", index=False
    )
    options = replace(Z, values="log_fold_change", base="2", gene="gene", value="lfc")
    with pytest.raises(OptionError, match="--absent"):
        convert_effects(path, tmp_path / "out.h5ad", options)
    convert_effects(path, tmp_path / "zero.h5ad", replace(options, absent="zero"))
    np.testing.assert_array_equal(read(tmp_path / "zero.h5ad").X, [[1, -2], [0, 3]])
    convert_effects(path, tmp_path / "absent.h5ad", replace(options, absent="unmeasured"))
    np.testing.assert_array_equal(read(tmp_path / "absent.h5ad").layers["measured"], [[True, True], [False, True]])


def test_a_long_table_without_the_name_of_a_gene_moves_no_value(tmp_path: Path) -> None:
    path = tmp_path / "de.csv"
    pd.DataFrame(
        {"perturbation": ["A", "A", "B", None], "gene": ["G1", None, "G2", "G2"], "lfc": [1.0, 7, 3, 9]}
    ).to_csv(path, index=False)
    options = replace(Z, gene="gene", value="lfc", absent="zero")
    said = convert_effects(path, tmp_path / "out.h5ad", options)
    adata = read(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(adata.X, [[1, 0], [0, 3]])
    assert "rows left out, no gene: 1" in said and "rows left out, no perturbation label: 1" in said


SYMBOLS = ["TP53", "MYC", "KLF1", "GATA1", "EGFR", "KRAS"]


def labelled(folder: Path, labels: list[str | None], **columns: object) -> Path:
    """A wide table of six genes with these labels."""
    values = np.random.default_rng(0).normal(size=(len(labels), 6))
    table = pd.DataFrame(values, columns=SYMBOLS).assign(perturbation=labels, cell_line="K562", **columns)
    table.to_csv(folder / "wide.csv", index=False)
    return folder / "wide.csv"


def rows_of(path: Path, **changes: object) -> tuple[anndata.AnnData, str]:
    out = path.with_name("out.h5ad")
    options = replace(EffectsOptions(values="z", mode_name="crispri", overwrite=True), **changes)
    said = convert_effects(path, out, options)
    return read(out), "\n".join(said)


def test_doses_are_never_pooled_in_silence(tmp_path: Path) -> None:
    for doses in ({"dose_uM": [0.1, 1, 0.1, 1]}, {"dose": ["100 nM", "1uM", "0,1 µM", "1.0"], "dose_unit": "uM"}):
        path = labelled(tmp_path, ["a", "a", "b", "b"], **doses)
        adata, said = rows_of(path, mode_name="drug")
        assert adata.obs["perturbation"].astype(str).tolist() == ["a@0.1", "a@1", "b@0.1", "b@1"]
        np.testing.assert_allclose(adata.obs["dose"], [0.1, 1, 0.1, 1], rtol=1e-6)
        assert adata.var_names.tolist() == SYMBOLS and "guessed" in said
        pooled, said = rows_of(path, mode_name="drug", dose="none")
        assert pooled.obs["perturbation"].nunique() == 2 and "is pooled over" in said


def test_what_speaks_of_rows_is_no_gene(tmp_path: Path) -> None:
    labels: list[str | None] = ["TP53", "MYC", "KLF1"]
    more = {"Unnamed: 0": range(3), "n_cells": 30, "pvalue": 0.1, "timepoint": 6, "replicate": 1, "is_control": False}
    adata, said = rows_of(labelled(tmp_path, labels, **more))
    assert adata.var_names.tolist() == SYMBOLS and "no genes: " in said and "--n-cells" in said


def test_controls_and_missing_labels_of_a_table_are_read_by_the_rules_of_a_screen(tmp_path: Path) -> None:
    adata, said = rows_of(labelled(tmp_path, ["TP53", "MYC", "DMSO", None, "NA"]))
    assert adata.obs["perturbation"].astype(str).tolist() == ["TP53", "MYC"]
    assert "control label: 'DMSO' (guessed)" in said and "no perturbation label: 2" in said
    with pytest.raises(VcDataError, match="one kind of control"):
        rows_of(labelled(tmp_path, ["TP53", "MYC", "DMSO", "non-targeting"]))
    adata, said = rows_of(labelled(tmp_path, ["TP53", "MYC", "DMSO", "AAVS1"]))
    assert "AAVS1" in said
    with pytest.raises(OptionError, match="no open question"):
        rows_of(tmp_path / "wide.csv", strict=True)
    adata, _ = rows_of(labelled(tmp_path, ["TP53", "MYC", "KLF1"], is_control=["no", "no", "yes"]))
    assert adata.obs["perturbation"].astype(str).tolist() == ["TP53", "MYC"]


def test_targets_of_a_table_are_linked_to_its_genes(tmp_path: Path) -> None:
    adata, said = rows_of(labelled(tmp_path, ["sgTP53-1", "myc", "KLF1", "STAT1"]))
    assert adata.obs["perturbation"].astype(str).tolist() == ["TP53", "MYC", "KLF1", "STAT1"]
    links = json.loads(adata.uns["target_genes"])["targets"]
    assert [links[name]["measured"] for name in ("TP53", "MYC", "STAT1")] == [True, True, False]
    assert "3 of 4 targets are measured genes" in said


def test_a_gene_that_is_repressed_and_activated_is_not_one_condition(tmp_path: Path) -> None:
    path = labelled(tmp_path, ["TP53", "TP53", "MYC"], mode=["CRISPRi", "CRISPRa", "CRISPRi"])
    with pytest.raises(VcDataError, match="one type of perturbation per target"):
        rows_of(path, mode_name=None)
    adata, _ = rows_of(path, mode_name=None, cell_line="cell_line,mode")
    assert adata.obs["mode"].tolist() == [0, 1, 0]


def test_a_dry_run_says_the_same_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = labelled(tmp_path, ["TP53", "MYC", "KLF1"]), tmp_path / "out.h5ad"
    line = ["convert-effects", str(path), str(out), "--values", "z", "--mode-name", "crispri"]
    assert main([*line, "--dry-run"]) == 0 and not out.exists()
    dry = capsys.readouterr().out.splitlines()
    assert main(line) == 0 and out.exists()
    assert capsys.readouterr().out.splitlines()[:-1] == dry[:-1] and "nothing was written" in dry[-1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("perturbation;A;B\nx;0,1;2\n", "separated by ';'"),
        ("perturbation,A,A\nx,1,2\n", "repeated: 'A'"),
        ("perturbation,A,B\nx,1,2\ny,low,3\nz,1,1\n", "found 'low'"),
        ("perturbation,gene_name,lfc,p\nx,A,1,0.1\nx,B,2,0.1\n", "--gene gene_name --value lfc"),
    ],
)
def test_a_table_of_another_shape_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "wide.csv").write_text(text)
    with pytest.raises(VcDataError, match=words):
        rows_of(tmp_path / "wide.csv", cell_line_name="K562")


def test_ranks_come_out_in_one_convention(tmp_path: Path) -> None:
    genes = {f"G{i}": [rank, 5 - rank] for i, rank in enumerate([1, 2, 3, 4])}
    path = tmp_path / "ranks.csv"
    pd.DataFrame({"perturbation": ["A", "B"], **genes}).to_csv(path, index=False)
    found = {}
    for values in ("rank_up", "rank_all", "rank_signed"):
        convert_effects(path, tmp_path / f"{values}.h5ad", replace(Z, values=values))
        found[values] = read(tmp_path / f"{values}.h5ad").X.tolist()
    assert found["rank_up"] == [[1, 2, 3, 4], [4, 3, 2, 1]]
    assert found["rank_all"] == [[1, 2, -2, -1], [-1, -2, 2, 1]]
    assert found["rank_signed"] == [[4, 3, 2, 1], [1, 2, 3, 4]]


def test_wells_lose_the_mean_of_the_controls_of_their_plate(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    plate = np.repeat(["p1", "p2"], 6)
    label = np.array((["DMSO"] * 4 + ["drug"] * 2) * 2)
    shift = np.where(plate == "p1", 0.0, 5.0)[:, None]
    values = rng.normal(size=(12, 3)) + shift + 2.0 * (label == "drug")[:, None]
    path = tmp_path / "wells.parquet"
    pd.DataFrame({"perturbation": label, "plate": plate, **dict(zip("abc", values.T, strict=True))}).to_parquet(path)
    options = replace(Z, values="log_profile", base="2", control=("DMSO",), batch="plate", mode_name="drug")
    convert_effects(path, tmp_path / "out.h5ad", options)
    adata = read(tmp_path / "out.h5ad")
    for row in range(4):
        own = "p1" if row < 2 else "p2"
        at = np.flatnonzero((label == "drug") & (plate == own))[row % 2]
        expected = values[at] - values[(label == "DMSO") & (plate == own)].mean(axis=0)
        np.testing.assert_allclose(adata.X[row], expected, rtol=1e-5)
    assert (adata.layers["se"] > 0).all()
    assert json.loads(adata.uns["target_genes"]) == {"kind": "compound", "targets": {}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"values": "log_fold_change"}, "--base"),
        ({"values": "rank_all"}, "whole numbers"),
        ({"values": "counts"}, "whole counts"),
        ({"control": ("DMSO",)}, "--control"),
        ({"perturbation": "drug"}, "a column 'drug'"),
        ({"cell_line_name": None}, "--cell-line"),
        ({"clip": 0.0}, "--clip"),
        ({"mode_name": "magic"}, "--mode-name"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(VcDataError, match=words):
        convert_effects(wide(tmp_path), tmp_path / "out.h5ad", replace(Z, **changes))
    assert not (tmp_path / "out.h5ad").exists()


@pytest.mark.skipif(not RANKS.exists(), reason="no shared data")
def test_real_ranks_convert_and_split_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, splits = tmp_path / "ranks.h5ad", tmp_path / "splits.json"
    assert main(["convert-effects", str(RANKS), str(out), "--values", "rank_up", "--mode-name", "crispri"]) == 0
    assert main(["split", str(out), str(splits), "--test", "0.25"]) == 0
    content = json.loads(splits.read_text())
    assert content["controls"] == {"input": [], "reference": [], "evaluation": []}
    held = {row["perturbation"] for row in content["conditions"] if row["part"] == "test"}
    assert len(content["conditions"]) == 936
    assert len(held) == 117
    assert not held & {row["perturbation"] for row in content["conditions"] if row["part"] == "train"}
    assert "space rank" in capsys.readouterr().out
