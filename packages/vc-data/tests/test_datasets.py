"""The registry is complete and consistent, and each layout it describes is read as it says."""

import dataclasses
import re
from urllib.parse import urlsplit

import numpy as np
import pytest
import scipy.sparse as sp
import tyro
from vc_data.cli import download as download_cli
from vc_data.convert.run import convert
from vc_data.datasets import DATASETS, get_dataset, registry, same_study
from vc_data.datasets.labels import drop_sentinel, read_conc, target_of_guide, target_of_identity
from vc_data.datasets.records import read_records
from vc_data.datasets.registry import RemoteFile, tidy_obs
from vc_data.errors import VcDataError
from vc_data.options import Columns, ConvertOptions
from vc_data.screen.file import read_screen
from vc_data.text.modes import is_chemical, parse_mode

ORIGINS = {
    "replogle22_k562_essential",
    "replogle22_k562_gwps",
    "replogle22_rpe1",
    "nadig25_hepg2",
    "nadig25_jurkat",
    "norman19_k562",
    "adamson16_10x010",
    "sciplex3",
    "vcc25_h1",
    "kolf25_pangenome",
    "tahoe100m",
}
WITH_COPY = ORIGINS - {"vcc25_h1", "kolf25_pangenome", "tahoe100m"}
FILES = [(dataset.key, file) for dataset in DATASETS.values() for file in dataset.files]


def test_every_study_is_there_with_its_scperturb_copy():
    assert {key for key, dataset in DATASETS.items() if not dataset.mirror_of} == ORIGINS
    assert {f"scperturb_{key}" for key in WITH_COPY} == {key for key in DATASETS if key.startswith("scperturb_")}


@pytest.mark.parametrize("key", DATASETS)
def test_row_is_complete(key):
    dataset = DATASETS[key]
    assert dataset.key == key and re.fullmatch(r"[a-z0-9_]+", key)
    for text in (dataset.title, dataset.citation, dataset.licence, dataset.perturbations):
        assert text.strip()
    assert re.fullmatch(r"10\.\d{4,9}/\S+", dataset.doi) and re.search(r"\(20\d\d\)", dataset.citation)
    assert dataset.files or dataset.access
    assert dataset.traps
    columns = dataset.columns
    assert columns.perturbation and columns.control and (columns.cell_line or columns.cell_line_name)
    mode = columns.mode_name
    assert parse_mode(mode) < 8 or is_chemical(mode)
    assert (dataset.dose_unit is not None) == is_chemical(mode)
    assert set(dataset.convert) <= {field.name for field in dataclasses.fields(ConvertOptions)}
    assert dataset.convert_options().columns == columns and dataset.convert_options().dataset == key


@pytest.mark.parametrize("key", [key for key, dataset in DATASETS.items() if dataset.mirror_of])
def test_copy_points_to_origins_of_the_same_mode(key):
    dataset = DATASETS[key]
    for origin in dataset.mirror_of:
        assert not DATASETS[origin].mirror_of
        assert DATASETS[origin].columns.mode_name == dataset.columns.mode_name


@pytest.mark.parametrize(("key", "file"), FILES, ids=[f"{key}-{file.name}" for key, file in FILES])
def test_file_can_be_fetched_and_checked(key, file):
    assert "/" not in file.name
    assert len(set(file.urls)) == len(file.urls) >= 1
    for url in file.urls:
        parts = urlsplit(url)
        assert parts.scheme == "https" and "." in parts.netloc and len(parts.path) > 1
        # These hosts, or forms of address, answer scripts with a browser challenge.
        assert parts.netloc not in ("plus.figshare.com", "dataverse.harvard.edu")
    if file.checksum is not None:
        algorithm, _, digest = file.checksum.partition(":")
        assert re.fullmatch(r"[0-9a-f]+", digest) and len(digest) == {"md5": 32, "sha256": 64}[algorithm]


def test_no_two_files_share_an_address_a_checksum_or_a_name():
    for what in (
        [url for _, file in FILES for url in file.urls],
        [file.checksum for _, file in FILES if file.checksum],
    ):
        assert len(what) == len(set(what))
    for dataset in DATASETS.values():
        assert len({file.name for file in dataset.files}) == len(dataset.files)


def test_sizes_are_those_of_the_dense_matrix_inside():
    # A dense float32 matrix is at least cells x genes x 4 bytes, and tables add a little.
    dense = ("replogle22_k562_essential", "replogle22_k562_gwps", "replogle22_rpe1", "nadig25_hepg2", "nadig25_jurkat")
    for key in dense:
        dataset = DATASETS[key]
        matrix = dataset.n_cells * dataset.n_genes * 4
        assert matrix < dataset.files[0].n_bytes < matrix * 1.01


def test_copies_of_one_study_are_found():
    assert same_study(["replogle22_rpe1", "norman19_k562", "sciplex3"]) == []
    assert same_study(["norman19_k562", "sciplex3", "gears_norman"]) == [
        ("norman19_k562", "gears_norman", "norman19_k562")
    ]
    assert same_study(["scperturb_nadig25_hepg2", "state_replogle_nadig"]) == [
        ("scperturb_nadig25_hepg2", "state_replogle_nadig", "nadig25_hepg2")
    ]
    assert same_study(["mine", "mine"]) == [("mine", "mine", "mine")]
    assert same_study(["mine", "yours", "vcc25_h1"]) == []
    # The two K562 screens of Replogle hold different cells.
    assert same_study(["replogle22_k562_essential", "replogle22_k562_gwps"]) == []


def test_unknown_key_names_the_nearest():
    with pytest.raises(VcDataError, match="norman19_k562"):
        get_dataset("norman2019_k562")


def test_adamson_labels():
    labels = {
        "SPI1_pDS255": "SPI1",
        "62(mod)_pBA581": "control",
        "63(mod)_pBA580": "control",
        "Gal4-4(mod)_pBA582": "control",
        "*": None,
        "PERK_only_pD": "PERK_only",
        "HSPA5": "HSPA5",
    }
    assert {label: target_of_guide(label) for label in labels} == labels


def test_norman_identities():
    labels = {
        "CEBPE_RUNX1T1__CEBPE_RUNX1T1": "CEBPE_RUNX1T1",
        "NegCtrl0_NegCtrl0__NegCtrl0_NegCtrl0": "control",
        "ARID1A_NegCtrl0__ARID1A_NegCtrl0": "ARID1A",
        "NegCtrl10_KLF1__NegCtrl10_KLF1": "KLF1",
        "NegCtrl1_NegCtrl0__NegCtrl1_NegCtrl0": None,
    }
    assert {label: target_of_identity(label) for label in labels} == labels


def test_tahoe_doses_are_parsed_never_evaluated():
    assert read_conc("[('DMSO_TF', 0.0, 'uM')]") == 0.0
    assert read_conc("[('8-Hydroxyquinoline', 0.05, 'uM')]") == 0.05
    assert read_conc("[('A', 0.05, 'uM'), ('B', 1.0, 'uM')]") is None
    assert read_conc("[('A', 5.0, 'nM')]") is None
    for text in ("__import__('os').getcwd()", "nothing", "[('A', 'much', 'uM')]", "5"):
        with pytest.raises(ValueError, match="drugname_drugconc"):
            read_conc(text)


def test_tahoe_sentinel_is_no_gene():
    genes, values = drop_sentinel(np.array([1, 30, 7]), np.array([-2.0, 4.0, 1.0]))
    assert genes.tolist() == [30, 7] and values.tolist() == [4.0, 1.0]
    genes, values = drop_sentinel([1, 7], [3.0, 1.0])
    assert genes == [1, 7] and values == [3.0, 1.0]
    assert drop_sentinel([], []) == ([], [])


def make_file(path, obs: dict, var: dict, index: list[str], *, form=sp.csr_matrix, layer: str | None = None):
    """A miniature .h5ad; counts differ in every cell, so that cells can be told apart afterwards."""
    import anndata as ad
    import pandas as pd

    n_cells = len(next(iter(obs.values())))
    counts = np.arange(1, n_cells * len(index) + 1, dtype=np.float32).reshape(n_cells, len(index)) % 7
    names = obs.get("names") or [f"cell{i}" for i in range(n_cells)]
    table = pd.DataFrame({key: value for key, value in obs.items() if key != "names"}, index=names)
    adata = ad.AnnData(form(counts), obs=table, var=pd.DataFrame(var, index=index))
    if layer:
        adata.layers[layer] = adata.X.copy()
        adata.X = form(np.log1p(counts))
    return adata, counts


def read(key: str, adata, tmp_path, *, seen=frozenset()):
    """What the registry makes of a file: write, convert by its key, read back."""
    dataset = DATASETS[key]
    _, statements = tidy_obs(dataset, adata.obs, seen=seen)
    if seen:
        adata.obs, _ = tidy_obs(dataset, adata.obs, seen=seen)
    for column in adata.obs.select_dtypes(object):
        adata.obs[column] = adata.obs[column].astype("category")
    adata.write_h5ad(tmp_path / "in.h5ad")
    report = convert(tmp_path / "in.h5ad", tmp_path / "out.zarr", ConvertOptions(dataset=key))
    assert all(statement in report.statements for statement in statements) or seen
    return read_screen(tmp_path / "out.zarr"), report, statements


ENSEMBL = [f"ENSG0000000000{i}" for i in range(1, 5)]
SYMBOLS = ["A", "B", "C", "KNTC1"]


@pytest.mark.parametrize("key", ["replogle22_rpe1", "nadig25_hepg2"])
def test_replogle_layout(tmp_path, key):
    labels = ["non-targeting", "A", "B", "C", "non-targeting", "A"]
    obs = {"gene": labels, "gem_group": [1, 1, 1, 2, 2, 2], "UMI_count": [100.0] * 6, "sgID_AB": ["x|y"] * 6}
    adata, _ = make_file(tmp_path, obs, {"gene_name": ["A", "TBCE", "TBCE", "C"]}, ENSEMBL, form=np.asarray)
    screen, _, _ = read(key, adata, tmp_path)
    assert sorted(screen.obs["perturbation"].unique()) == ["A", "B", "C", "control"]
    assert set(screen.obs["cell_line"]) == {DATASETS[key].columns.cell_line_name}
    assert set(screen.obs["batch"]) == {"1", "2"} and set(screen.obs["total_counts"]) == {100.0}
    assert set(screen.obs.loc[~screen.obs["is_control"], "mode"]) == {0}
    assert sorted(screen.var["gene_id"]) == ENSEMBL
    assert set(screen.obs["dataset"]) == {key}


@pytest.mark.parametrize("control", ["control", "non-targeting"])
def test_scperturb_copy_accepts_both_names_of_controls(tmp_path, control):
    obs = {
        "perturbation": [control, "A", "B", "C", control, "A"],
        "cell_line": ["K562"] * 6,
        "batch": ["1"] * 6,
        "ncounts": [100.0] * 6,
        "perturbation_type": ["CRISPR"] * 6,
    }
    adata, _ = make_file(tmp_path, obs, {"ensembl_id": ENSEMBL}, SYMBOLS)
    screen, report, _ = read("scperturb_replogle22_k562_essential", adata, tmp_path)
    assert report.n_controls == 2 and report.n_perturbations == 3
    assert set(screen.obs.loc[~screen.obs["is_control"], "mode"]) == {0}


def test_norman_copy_is_activation_of_pairs(tmp_path):
    obs = {"perturbation": ["control", "A", "B_A", "KNTC1", "A_B"], "gemgroup": [1, 1, 2, 2, 2]}
    adata, _ = make_file(tmp_path, obs, {"ensemble_id": ENSEMBL}, SYMBOLS)
    screen, _, _ = read("scperturb_norman19_k562", adata, tmp_path)
    assert sorted(screen.obs["perturbation"]) == ["A", "A+B", "A+B", "KNTC1", "control"]
    assert set(screen.obs.loc[~screen.obs["is_control"], "mode"]) == {1}


def test_gears_norman_takes_counts_and_keeps_the_line(tmp_path):
    conditions = ["ctrl", "A+ctrl", "ctrl+B", "A+B", "ctrl"]
    obs = {"condition": conditions, "cell_type": ["A549"] * 5, "control": [1, 0, 0, 0, 1], "dose_val": ["1+1"] * 5}
    adata, counts = make_file(tmp_path, obs, {"gene_name": SYMBOLS}, ENSEMBL, layer="counts")
    screen, _, _ = read("gears_norman", adata, tmp_path)
    assert sorted(screen.obs["perturbation"]) == ["A", "A+B", "B", "control", "control"]
    assert set(screen.obs["cell_line"]) == {"K562"}
    assert screen.X.sum() == counts.sum()


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_adamson_copy_numbers_names_and_drops_the_unassigned(tmp_path):
    labels = ["62(mod)_pBA581", "63(mod)_pBA580", "A_pDS1", "A_pDS2", "B_pDS3", "KNTC1_pDS4", "*", None]
    obs = {"perturbation": labels, "names": ["x", "x", "y", "y", "z", "w", "v", "u"]}
    adata, _ = make_file(tmp_path, obs, {}, SYMBOLS)
    screen, report, statements = read("scperturb_adamson16_10x010", adata, tmp_path)
    assert sorted(screen.obs["perturbation"]) == ["A", "A", "B", "KNTC1", "control", "control"]
    assert report.dropped_cells == {"no perturbation label": 2}
    assert "cells without a usable label: 1" in statements[0]
    assert screen.obs_names.is_unique


def test_sciplex_copy_keeps_names_whole_and_time_apart(tmp_path):
    drugs = ["control", "(+)-JQ1 ", "(+)-JQ1", "a, b/c_d", "control", "e", None]
    obs = {
        "perturbation": drugs,
        "cell_line": ["A549"] * 6 + [None],
        "time": [24, 24, 24, 24, 72, 72, 24],
        "replicate": ["rep1"] * 7,
        "dose_value": [0.0, 10.0, 100.0, 10.0, 0.0, 10.0, np.nan],
    }
    adata, counts = make_file(tmp_path, obs, {"ensembl_id": [*ENSEMBL[:3], ENSEMBL[2]]}, SYMBOLS)
    screen, report, _ = read("scperturb_sciplex3", adata, tmp_path)
    targets = set(screen.obs["target"])
    assert targets == {"(plus)-JQ1", "a, b/c_d", "e", "control"}
    assert set(screen.obs["cell_line"]) == {"A549_24", "A549_72"}
    assert set(screen.obs.loc[screen.obs["target"] == "(plus)-JQ1", "dose"]) == {10.0, 100.0}
    assert set(screen.obs["mode"]) == {8} and report.dropped_cells["no perturbation label"] == 1
    assert screen.n_vars == 3 and screen.X.sum() == counts[:6].sum()


def test_vcc_controls_that_two_files_repeat_are_kept_once(tmp_path):
    obs = {
        "target_gene": ["non-targeting", "non-targeting", "A", "B", "C"],
        "batch": ["Flex_1_01"] * 5,
        "guide_id": ["g"] * 5,
        "names": ["train1", "only_here", "a", "b", "c"],
    }
    adata, _ = make_file(tmp_path, obs, {"gene_id": ENSEMBL}, SYMBOLS)
    screen, report, statements = read("vcc25_h1", adata, tmp_path, seen={"train1", "train2"})
    assert sorted(screen.obs_names) == ["a", "b", "c", "only_here"]
    assert set(screen.obs["cell_line"]) == {"H1"} and report.n_controls == 1
    assert "holds too: 1" in statements[-1]


def test_kolf_control_is_exact_and_columns_are_read(tmp_path):
    obs = {"gene_target": ["NTC", "KNTC1", "A", "B", "NTC"], "channel": ["1"] * 5, "batch": ["chip"] * 5}
    adata, counts = make_file(tmp_path, obs, {"gene_ids": ENSEMBL}, SYMBOLS, form=sp.csc_matrix, layer="counts")
    screen, report, _ = read("kolf25_pangenome", adata, tmp_path)
    assert report.n_controls == 2 and "KNTC1" in set(screen.obs["perturbation"])
    assert screen.X.sum() == counts.sum() and set(screen.obs["batch"]) == {"1"}


def test_tahoe_doses_become_numbers(tmp_path):
    obs = {
        "drug": ["DMSO_TF", "x+y", "z", "w"],
        "cell_line": ["CVCL_1"] * 4,
        "plate": ["plate1"] * 4,
        "drugname_drugconc": [f"[('{drug}', {dose}, 'uM')]" for drug, dose in zip("abcd", (0, 5, 0.5, 5), strict=True)],
    }
    adata, _ = make_file(tmp_path, obs, {}, SYMBOLS)
    screen, _, _ = read("tahoe100m", adata, tmp_path)
    doses = dict(zip(screen.obs["target"], screen.obs["dose"], strict=True))
    assert {"xplusy", "z", "w"} < doses.keys()
    assert doses["xplusy"] == 5.0 and doses["z"] == 0.5 and np.isnan(doses["control"])


def test_tidy_leaves_its_input_alone():
    adata, _ = make_file(None, {"perturbation": ["SPI1_pDS255", "*"]}, {}, SYMBOLS)
    before = adata.obs.copy()
    fixed, _ = tidy_obs(DATASETS["scperturb_adamson16_10x010"], adata.obs)
    assert adata.obs.equals(before)
    assert fixed["perturbation"].tolist()[0] == "SPI1" and fixed["perturbation"].isna().tolist() == [False, True]


@pytest.mark.parametrize("key", DATASETS)
def test_printed_flags_mean_the_registered_options(key):
    import shlex

    words = shlex.split(download_cli.convert_flags(DATASETS[key]))
    read_back = tyro.cli(ConvertOptions, args=words, config=(tyro.conf.OmitArgPrefixes,))
    assert read_back == DATASETS[key].convert_options()


def test_list_shows_every_data_set_as_a_table(capsys):
    download_cli.list_datasets()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["key", "cells"]
    assert [line.split()[0] for line in lines[1:-1]] == list(DATASETS)
    row = next(line for line in lines if line.startswith("replogle22_rpe1 "))
    assert "247,914" in row and "8.70 GB" in row and "CC BY 4.0" in row and "crispri" in row
    assert "by hand" in next(line for line in lines if line.startswith("gears_norman "))


def test_list_of_one_shows_addresses_and_traps(capsys):
    download_cli.list_datasets(("nadig25_hepg2", "tahoe100m"))
    out = capsys.readouterr().out
    for dataset in (DATASETS["nadig25_hepg2"], DATASETS["tahoe100m"]):
        for text in (dataset.citation, dataset.doi, dataset.licence, *dataset.traps):
            assert text in out
        for file in dataset.files:
            assert file.name in out and all(url in out for url in file.urls)


def test_download_command_says_what_was_written_and_what_is_next(tmp_path, monkeypatch, capsys):
    dataset = registry.Dataset(
        key="mine",
        title="x",
        citation="x",
        doi="x",
        licence="x",
        perturbations="x",
        columns=Columns(perturbation="gene", control=("no guide",), mode_name="crispri"),
        files=(RemoteFile(name="a.h5ad", urls=("http://127.0.0.1:9/a",)),),
        mirror_of=("vcc25_h1",),
    )
    monkeypatch.setitem(DATASETS, "mine", dataset)
    (tmp_path / "a.h5ad").write_bytes(b"\x89HDF\r\n\x1a\nrest")
    download_cli.download_dataset("mine", out=tmp_path)
    out = capsys.readouterr().out
    assert "already there; sha256:" in out and "never put both into one corpus" in out
    assert out.splitlines()[-1].startswith("1 files of mine are whole in")
    assert "--perturbation gene --control 'no guide' --mode-name crispri" in out.splitlines()[-1]


RECORD = """
[studies.one]
citation = "A (2020)."
doi = "10.1/x"
licence = "CC0"
[layout]
traps = ["first"]
[layout.columns]
perturbation = "gene"
batch = "gem"
[[datasets]]
study = "one"
key = "a"
title = "A"
perturbations = "2 genes"
traps = ["second"]
files = [{ name = "a.h5ad", figshare = 7, n_bytes = 3 }]
[datasets.columns]
batch = "none"
"""


def test_a_record_file_says_once_what_its_data_sets_share(tmp_path):
    (tmp_path / "mine.toml").write_text(RECORD)
    (found,) = read_records(tmp_path / "mine.toml")
    assert found.columns == Columns(perturbation="gene", batch="none")
    assert found.traps == ("first", "second") and found.doi == "10.1/x"
    assert found.files[0].urls[0].endswith("/files/7") and found.size == 3


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('title = "A"', 'titel = "A"', r"mine.toml: a: titel: expected a field that records have"),
        ('title = "A"', "", r"mine.toml: a: title: expected the field"),
        ('batch = "none"', 'bach = "none"', r"a, columns: bach"),
        ("figshare = 7", "n = 7", r"a: files: expected one of figshare, geo"),
        ("n_bytes = 3", "size = 3", r"a, files: size"),
        ('title = "A"', 'title = "A"\nfix_label = "lower"', r"fix_label: expected one of control_of_copy.*'lower'"),
        ("[datasets.columns]", "[datasets.gears]\nname = 'x'\n[datasets.columns]", r"a: gears: .*file_id"),
    ],
)
def test_a_record_that_breaks_the_form_is_named(tmp_path, old, new, told):
    (tmp_path / "mine.toml").write_text(RECORD.replace(old, new, 1))
    with pytest.raises(VcDataError, match=told):
        list(read_records(tmp_path / "mine.toml"))
