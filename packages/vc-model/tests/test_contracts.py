import contextlib
import json
from itertools import pairwise

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from vc_model.contracts import PredictionFile, hash_path, read_features, read_predictions, read_screen, read_splits
from vc_model.contracts import write_predictions as write
from vc_model.contracts.header import make_header, whole
from vc_model.errors import ContractError


@pytest.mark.parametrize("suffix", [".zarr", ".h5ad"])
def test_screen_and_split_are_read_from_both_forms(tiny, suffix):
    screen_path, splits_path, adata = tiny(suffix=suffix)
    screen = read_screen(screen_path)
    splits = read_splits(splits_path, screen)
    np.testing.assert_array_equal(screen.rows(5, 12).toarray(), adata.X[5:12].toarray())
    assert splits.parts[("A", "G2")] == "test"
    assert set(splits.controls) == {"input", "reference", "evaluation"}


def test_blocks_tile_any_range(tiny, monkeypatch):
    monkeypatch.setattr("vc_model.contracts.screen.VALUES_PER_BLOCK", 12)
    screen = read_screen(tiny()[0])
    blocks = list(screen.blocks(3, 40))
    assert blocks[0][0] == 3
    assert blocks[-1][1] == 40
    assert all(a[1] == b[0] for a, b in pairwise(blocks))
    assert len(blocks) > 5


def _set_header(adata, **change):
    adata.uns["contract"] = json.dumps({"name": "screen", "version": "1.0", **change})


def _set_obs(column, value):
    def change(adata):
        adata.obs[column] = value

    return change


def _set_count(value):
    def change(adata):
        adata.X.data[3] = value

    return change


def _unsort(adata):
    adata.X.indices[:2] = adata.X.indices[:2][::-1].copy()


def _shift_groups(adata):
    adata.uns["groups"].loc[1, "start"] += 1


def _rename_group(adata):
    adata.uns["groups"].loc[2, "batch"] = "b9"


def _repeat_cell(adata):
    adata.obs_names = ["c0", *adata.obs_names[:-1]]


BROKEN_SCREENS = {
    "another contract": (lambda a: _set_header(a, name="splits"), "contract['name']"),
    "greater major version": (lambda a: _set_header(a, version="2.0"), "contract['version']"),
    "no version": (lambda a: _set_header(a, version=None), "contract['version']"),
    "header that is no JSON": (lambda a: a.uns.__setitem__("contract", "{"), "contract"),
    "no header": (lambda a: a.uns.pop("contract") and None, "contract"),
    "missing obs column": (lambda a: a.obs.__delitem__("dose"), "dose"),
    "missing var column": (lambda a: a.var.__delitem__("measured"), "measured"),
    "repeated cells": (_repeat_cell, "obs index"),
    "fractional count": (_set_count(0.5), "X"),
    "negative count": (_set_count(-1.0), "X"),
    "infinite count": (_set_count(np.inf), "X"),
    "stored zero": (_set_count(0.0), "X"),
    "unsorted columns": (_unsort, "X indices"),
    "control flag that disagrees": (_set_obs("is_control", False), "is_control"),
    "mode out of range": (_set_obs("mode", np.int8(9)), "mode"),
    "library size of zero": (_set_obs("total_counts", np.float32(0)), "total_counts"),
    "groups with a gap": (_shift_groups, "groups"),
    "groups that disagree": (_rename_group, "groups"),
    "no groups": (lambda a: a.uns.pop("groups") is None, "groups"),
    "dense X": (lambda a: setattr(a, "X", a.X.toarray()), "X"),
    "column-wise X": (lambda a: setattr(a, "X", sp.csc_matrix(a.X)), "X"),
}


@pytest.mark.parametrize("name", BROKEN_SCREENS)
def test_screen_reader_refuses(tiny, name):
    change, field = BROKEN_SCREENS[name]

    def run(adata):
        change(adata)

    with pytest.raises(ContractError, match="expected") as refusal:
        read_screen(tiny(change_screen=run)[0])
    assert field in str(refusal.value)


def test_greater_minor_version_and_unknown_columns_are_accepted(tiny):
    def change(adata):
        _set_header(adata, version="1.9", more=1)
        adata.obs["colour"] = "blue"

    assert len(read_screen(tiny(change_screen=change)[0]).obs) == 45


def test_absent_and_foreign_files_are_refused(tmp_path):
    (tmp_path / "text.h5ad").write_text("no")
    (tmp_path / "empty.zarr").mkdir()
    for name in ("absent.zarr", "text.h5ad", "empty.zarr"):
        with pytest.raises(ContractError, match=name):
            read_screen(tmp_path / name)


def _condition(index, **change):
    return lambda s: s["conditions"][index].update(change)


BROKEN_SPLITS = {
    "unknown part": _condition(0, part="hold"),
    "condition twice": lambda s: s["conditions"].append(s["conditions"][0]),
    "foreign condition": _condition(0, perturbation="G9"),
    "missing condition": lambda s: s["conditions"].pop(),
    "no test": _condition(3, part="val"),
    "empty recipe": lambda s: s.update(recipe=""),
    "overlapping controls": lambda s: s["controls"]["input"].append(s["controls"]["reference"][0]),
    "empty controls": lambda s: s["controls"].update(evaluation=[]),
    "perturbed cell as control": lambda s: s["controls"]["input"].append("c20"),
    "another contract": lambda s: s["contract"].update(name="screen"),
    "no controls": lambda s: s.pop("controls"),
}


@pytest.mark.parametrize("name", BROKEN_SPLITS)
def test_splits_reader_refuses(tiny, name):
    screen_path, splits_path, _ = tiny(change_splits=BROKEN_SPLITS[name])
    with pytest.raises(ContractError, match=r"splits\.json"):
        read_splits(splits_path, read_screen(screen_path))


def make_bank() -> anndata.AnnData:
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    x[2] = 0
    obs = pd.DataFrame({"kind": "gene", "source": "s", "missing": [False, False, True, False]}, index=list("abcd"))
    bank = anndata.AnnData(X=x, obs=obs, var=pd.DataFrame(index=["d0", "d1", "d2"]))
    bank.uns["contract"] = json.dumps({"name": "features", "version": "1.0"})
    encoder = {"id": "toy", "revision": "1", "pooling": "none", "dtype": "float32", "dim": 3, "licence": "none"}
    bank.uns["encoder"] = json.dumps(encoder)
    return bank


def test_features_are_read(tmp_path):
    make_bank().write_zarr(tmp_path / "bank.zarr")
    bank = read_features(tmp_path / "bank.zarr")
    assert bank.name == "toy"
    assert bank.entities == ("a", "b", "c", "d")
    assert bank.missing_e.tolist() == [False, False, True, False]


BROKEN_BANKS = {
    "not finite": lambda b: b.X.__setitem__((0, 0), np.nan),
    "missing row with values": lambda b: b.X.__setitem__((2, 0), 1),
    "repeated entity": lambda b: setattr(b, "obs_names", list("aacd")),
    "unknown kind": lambda b: b.obs.__setitem__("kind", "planet"),
    "missing column": lambda b: b.obs.__delitem__("source"),
    "wrong dim": lambda b: b.uns.__setitem__("encoder", b.uns["encoder"].replace('"dim": 3', '"dim": 4')),
    "missing encoder key": lambda b: b.uns.__setitem__("encoder", '{"id": "toy"}'),
}


@pytest.mark.parametrize("name", BROKEN_BANKS)
@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_features_reader_refuses(tmp_path, name):
    bank = make_bank()
    BROKEN_BANKS[name](bank)
    bank.write_zarr(tmp_path / "bank.zarr")
    with pytest.raises(ContractError, match=r"bank\.zarr"):
        read_features(tmp_path / "bank.zarr")


def make_file(**change) -> PredictionFile:
    values = {
        "model": "toy",
        "space": "log1p_cp10k",
        "unit": "profile",
        "genes": ("G0", "G1"),
        "perturbation": np.array(["control", "G0", "G0+G1"]),
        "cell_line": np.array(["A", "A", "A"]),
        "is_control": np.array([True, False, False]),
        "mean_ng": np.array([[1, 2], [0, 2], [3, 1]], dtype=np.float32),
        "sd_ng": np.array([[0, 0], [0.1, 2], [0, 1]], dtype=np.float32),
    }
    return PredictionFile(**{**values, **change})


@pytest.mark.parametrize("suffix", [".zarr", ".h5ad"])
def test_predictions_come_back_as_written(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    write(path, make_file(), parents={"screen.zarr": "0" * 64}, config={"seed": 1})
    found = read_predictions(path)
    np.testing.assert_array_equal(found.mean_ng, make_file().mean_ng)
    np.testing.assert_array_equal(found.sd_ng, make_file().sd_ng)
    assert found.perturbation.tolist() == ["control", "G0", "G0+G1"]
    assert (found.model, found.space, found.unit, found.genes) == ("toy", "log1p_cp10k", "profile", ("G0", "G1"))
    header = json.loads((anndata.read_zarr(path) if suffix == ".zarr" else anndata.read_h5ad(path)).uns["contract"])
    assert header["parents"] == {"screen.zarr": "0" * 64}


BROKEN_PREDICTIONS = {
    "negative": {"mean_ng": -np.ones((3, 2), np.float32)},
    "not finite": {"mean_ng": np.full((3, 2), np.nan, np.float32)},
    "space": {"space": "counts per million"},
    "unit": {"unit": "gene"},
    "negative sd": {"sd_ng": -np.ones((3, 2), np.float32)},
    "duplicate gene": {"genes": ("G0", "G0")},
    "duplicate profile": {"perturbation": np.array(["control", "G0", "G0"])},
    "no control row": {"cell_line": np.array(["A", "A", "B"])},
    "control flag": {"is_control": np.array([True, True, False])},
}


@pytest.mark.parametrize("name", BROKEN_PREDICTIONS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broken_predictions_are_neither_written_nor_read(tmp_path, monkeypatch, name):
    path = tmp_path / "out.zarr"
    with pytest.raises(ContractError):
        write(path, make_file(**BROKEN_PREDICTIONS[name]))
    assert list(tmp_path.iterdir()) == []
    with monkeypatch.context() as patch:
        patch.setattr("vc_contracts.writing.check", lambda adata, *_: json.loads(adata.uns["contract"]))
        write(path, make_file(**BROKEN_PREDICTIONS[name]))
    with pytest.raises(ContractError, match=r"out\.zarr"):
        read_predictions(path)


def test_output_is_whole_or_absent_and_the_older_one_survives_a_failure(tmp_path):
    path = tmp_path / "folder"
    for content, failure in (("old", None), ("half", RuntimeError), ("new", None)):
        with contextlib.suppress(RuntimeError), whole(path, kind="toy") as temporary:
            temporary.mkdir()
            (temporary / "inside").write_text(content)
            if failure:
                raise failure
        assert (path / "inside").read_text() == ("old" if failure else content)
        assert [part.name for part in tmp_path.iterdir()] == ["folder"]


def test_hash_of_a_folder_is_the_contracts_formula(tmp_path):
    from hashlib import sha256

    (tmp_path / "f" / "sub").mkdir(parents=True)
    (tmp_path / "f" / "b").write_text("2")
    (tmp_path / "f" / "sub" / "a").write_text("1")
    lines = f"b\0{sha256(b'2').hexdigest()}\nsub/a\0{sha256(b'1').hexdigest()}\n"
    assert hash_path(tmp_path / "f") == sha256(lines.encode()).hexdigest()
    assert hash_path(tmp_path / "f" / "b") == sha256(b"2").hexdigest()


def test_header_time_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert make_header("predictions")["created"] == "1970-01-01T00:00:00+00:00"
