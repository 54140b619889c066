import json
import shutil

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import vc_data.screen.file
import zarr
from vc_data.contract import sha256_tree
from vc_data.errors import ContractError, OutputError
from vc_data.screen.describe import describe_screen
from vc_data.screen.file import check_screen, read_screen, write_screen


def write(adata, path, *, seed=0, **options):
    alignment = json.loads(adata.uns["alignment"])
    write_screen(adata.obs, adata.var, adata.X.__getitem__, path, alignment=alignment, seed=seed, **options)
    return read_screen(path)


def test_rows_are_grouped_sorted_and_shuffled_within_groups(screen, tmp_path):
    one, two = write(screen, tmp_path / "1.zarr", seed=1), write(screen, tmp_path / "2.zarr", seed=2)
    for adata in (one, two):
        obs = adata.obs.astype({"cell_line": str, "perturbation": str, "batch": str})
        keys = list(zip(obs.cell_line, ~obs.is_control, obs.perturbation, obs.batch, strict=True))
        assert keys == sorted(keys)
        groups = adata.uns["groups"]
        assert len(groups) == obs.groupby(["cell_line", "perturbation", "batch"]).ngroups
        for line, perturbation, batch, start, stop in groups.itertuples(index=False):
            cells = obs.iloc[start:stop]
            assert (cells[["cell_line", "perturbation", "batch"]] == [line, perturbation, batch]).all(axis=None)
    assert one.obs_names.tolist() != two.obs_names.tolist()
    assert (one[two.obs_names].X != two.X).nnz == 0


def test_same_seed_same_bytes(screen, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    for name in ("1.zarr", "2.zarr"):
        write(screen, tmp_path / name, seed=3)
    assert sha256_tree(tmp_path / "1.zarr") == sha256_tree(tmp_path / "2.zarr")


def test_matrix_of_many_shards_comes_back(screen, tmp_path, monkeypatch):
    whole = write(screen, tmp_path / "whole.zarr")
    monkeypatch.setattr(vc_data.screen.file, "CHUNK", 16)
    monkeypatch.setattr(vc_data.screen.file, "SHARD", 64)
    parts = write(screen, tmp_path / "parts.zarr")
    assert (whole.X != parts.X).nnz == 0
    data = zarr.open_group(tmp_path / "parts.zarr", mode="r")["X/data"]
    assert data.chunks == (16,) and data.shards == (64,) and data.shape == (whole.X.nnz,)


@pytest.mark.parametrize(("max_count", "dtype"), [(255, np.uint8), (256, np.uint16), (70_000, np.uint32)])
def test_smallest_type_that_holds_the_counts(screen, tmp_path, max_count, dtype):
    screen.X.data[0] = min(max_count, screen.X.data[0])
    assert write(screen, tmp_path / "s.zarr", max_count=max_count).X.dtype == dtype


def test_h5ad_with_the_same_content_is_a_screen(screen, tmp_path):
    screen.write_h5ad(tmp_path / "s.h5ad")
    again = read_screen(tmp_path / "s.h5ad")
    assert (again.X != screen.X).nnz == 0 and again.obs.equals(screen.obs)


def test_scanpy_style_reading_works(screen_path):
    adata = anndata.read_zarr(screen_path)
    assert isinstance(adata.X, sp.csr_matrix) and adata.X.has_canonical_format
    assert adata.obs["perturbation"].dtype == "category" and adata.obs["is_control"].dtype == bool


def test_unknown_columns_and_newer_minor_versions_are_read(screen):
    header = json.loads(screen.uns["contract"]) | {"version": "1.9"}
    screen.uns["contract"] = json.dumps(header)
    screen.obs["colour"] = "blue"
    screen.layers["other"] = screen.X.copy()
    check_screen(screen)


def drop_obs(a):
    del a.obs["mode"]


def drop_var(a):
    del a.var["measured"]


def repeat_cell(a):
    a.obs_names = ["x", *a.obs_names[1:-1], "x"]


def repeat_gene(a):
    a.var_names = ["x", *a.var_names[1:-1], "x"]


def set_value(value):
    def damage(a):
        a.X = a.X.astype(np.float64)
        a.X.data[3] = value

    return damage


def unsort(a):
    a.X.indices[:2] = a.X.indices[:2][::-1]
    a.X.has_sorted_indices = False


def make_csc(a):
    a.X = sp.csc_matrix(a.X)


def make_dense(a):
    a.X = a.X.toarray()


def flip_control(a):
    a.obs["is_control"] = ~a.obs["is_control"]


def text_control(a):
    a.obs["is_control"] = a.obs["is_control"].astype(str)


def bad_mode(a):
    a.obs["mode"] = np.int8(9)


def zero_total(a):
    a.obs.iloc[0, a.obs.columns.get_loc("total_counts")] = 0


def nan_total(a):
    a.obs.iloc[0, a.obs.columns.get_loc("total_counts")] = np.nan


def text_dose(a):
    a.obs["dose"] = "1"


def missing_batch(a):
    a.obs["batch"] = a.obs["batch"].astype(object).where(np.arange(a.n_obs) > 0)


def change_groups(edit):
    def damage(a):
        a.uns["groups"] = edit(a.uns["groups"].copy())

    return damage


def shift(groups):
    groups.loc[groups.index[1], "start"] += 1
    return groups


def rename(groups):
    groups["batch"] = "b9"
    return groups


def split_group(groups):
    first = groups.iloc[[0]]
    middle = int(first["stop"].iloc[0]) // 2
    return pd.concat([first.assign(stop=middle), first.assign(start=middle), groups.iloc[1:]], ignore_index=True)


def set_header(**change):
    def damage(a):
        a.uns["contract"] = json.dumps(json.loads(a.uns["contract"]) | change)

    return damage


def no_header(a):
    del a.uns["contract"]


def no_alignment(a):
    a.uns["alignment"] = "none"


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (drop_obs, "mode"),
        (drop_var, "measured"),
        (repeat_cell, "obs index"),
        (repeat_gene, "var index"),
        (set_value(-1), "negative"),
        (set_value(0.5), "fractional"),
        (set_value(np.nan), "not finite"),
        (set_value(0), "stored zeros"),
        (unsort, "unsorted"),
        (make_csc, "csc"),
        (make_dense, "CSR"),
        (flip_control, "is_control"),
        (text_control, "is_control"),
        (bad_mode, "mode"),
        (zero_total, "total_counts"),
        (nan_total, "total_counts"),
        (text_dose, "dose"),
        (missing_batch, "batch"),
        (change_groups(shift), "tile"),
        (change_groups(lambda groups: groups.iloc[:-1]), "tile"),
        (change_groups(lambda groups: groups.drop(columns="stop")), "stop"),
        (change_groups(lambda groups: groups.astype({"start": float})), "whole numbers"),
        (change_groups(rename), "batch"),
        (change_groups(split_group), "once"),
        (set_header(version="2.0"), "version"),
        (set_header(name="splits"), "name"),
        (no_header, "contract"),
        (no_alignment, "alignment"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_breaches_are_refused(screen, damage, word):
    check_screen(screen)
    damage(screen)
    with pytest.raises(ContractError, match=word):
        check_screen(screen, "bad.zarr")


@pytest.mark.parametrize("which", ["control", "perturbed"])
def test_a_screen_needs_controls_and_perturbed_cells(screen, tmp_path, which):
    kept = screen[screen.obs["is_control"] == (which == "control")].copy()
    with pytest.raises(ContractError, match="control"):
        write(kept, tmp_path / "s.zarr")
    assert not list(tmp_path.iterdir())


def test_missing_and_damaged_files_are_refused(screen_path, tmp_path):
    with pytest.raises(ContractError, match="nothing"):
        read_screen(tmp_path / "no.zarr")
    (tmp_path / "text.h5ad").write_text("hello")
    (tmp_path / "empty.zarr").mkdir()
    for name in ("text.h5ad", "empty.zarr"):
        with pytest.raises(ContractError, match=name):
            read_screen(tmp_path / name)


def test_target_must_end_in_zarr(screen, tmp_path):
    with pytest.raises(OutputError, match=r"\.zarr"):
        write(screen, tmp_path / "s.h5ad")


def test_description_counts_by_hand(screen, screen_path):
    report = describe_screen(screen, screen_path)
    # 2 lines x 5 labels x 2 batches x 6 cells; one label is the control, one a pair.
    assert (report["cells"], report["perturbations"], report["combinations"], report["conditions"]) == (120, 4, 1, 8)
    assert report["cells_per_condition"] == dict.fromkeys(["min", "q25", "median", "q75", "max"], 12.0)
    assert report["cell_lines"]["K562"]["controls_per_batch"] == {"b1": 6, "b2": 6}
    assert report["modes"] == {"0": 96, "8": 24}
    assert report["sha256"] == sha256_tree(screen_path)
    assert report["share_of_zeros"] == pytest.approx((screen.X.toarray() == 0).mean(), abs=1e-4)
    assert report["alignment"]["n_measured"] == 12


def test_description_names_batches_without_controls(screen):
    kept = screen[~(screen.obs["is_control"] & (screen.obs["batch"] == "b2")).to_numpy()].copy()
    lines = describe_screen(kept)["cell_lines"]
    assert lines["RPE1"]["batches_without_controls"] == ["b2"]


@pytest.mark.filterwarnings("ignore")
def test_flipped_and_missing_bytes_of_the_counts_are_refused(screen, screen_path, tmp_path):
    """Every file of X, at several places: the reader refuses, or (padding, names of codecs) reads what was written."""
    copy, rng = tmp_path / "s.zarr", np.random.default_rng(0)
    shutil.copytree(screen_path, copy)
    refused = 0
    for file in sorted(path for path in (copy / "X").rglob("*") if path.is_file() and path.name != "zarr.json"):
        whole = file.read_bytes()
        damaged = [whole[: len(whole) // 2]]
        for place in rng.integers(0, len(whole), 8):
            damaged.append(whole[:place] + bytes([whole[place] ^ 1 << rng.integers(8)]) + whole[place + 1 :])
        for content in damaged:
            file.write_bytes(content)
            try:
                assert (read_screen(copy).X != screen.X).nnz == 0
            except ContractError as error:
                refused += str(error).startswith("screen/v1") or "s.zarr" in str(error)
        file.write_bytes(whole)
    assert refused >= 20
