"""Hashes of the content: the same for the same values, another for any other."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import vc_contracts
from vc_contracts import ContractError
from vc_contracts.content import SWITCH, hash_content
from vc_contracts.store import open_tables, read_parquet


def predictions(sparse: bool = False) -> anndata.AnnData:
    x = np.random.default_rng(0).gamma(1, 1, (4, 300)).astype(np.float32)
    x[x < 1] = 0
    label = ["control", "G1", "G2", "G3"]
    obs = pd.DataFrame(
        {"perturbation": label, "cell_line": "A", "is_control": [True, False, False, False]}, index=label
    )
    var = pd.DataFrame(index=[f"g{i}" for i in range(300)])
    adata = anndata.AnnData(X=sp.csr_matrix(x) if sparse else x, obs=obs, var=var)
    adata.uns |= {"space": "counts", "unit": "profile", "model": "toy"}
    adata.uns["contract"] = json.dumps(vc_contracts.make_header("predictions", writer="vc-contracts"))
    return adata


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("suffix", [".zarr", ".h5ad"])
def test_what_is_written_is_read_and_a_changed_value_is_refused(tmp_path, suffix, sparse):
    path = vc_contracts.write(tmp_path / f"p{suffix}", predictions(sparse), "predictions")
    adata = vc_contracts.read(path, "predictions")
    hashes = json.loads(adata.uns["contract"])["content"]
    assert {place: value for place, value in hashes.items() if place != "header"} == hash_content(adata)
    (adata.X.data if sparse else adata.X[0])[5] += 1
    other = tmp_path / f"other{suffix}"
    adata.write_zarr(other) if suffix == ".zarr" else adata.write_h5ad(other)
    with pytest.raises(ContractError, match="hashes"):
        vc_contracts.read(other, "predictions")


def test_columns_that_a_user_adds_do_no_harm_and_the_switch_works(tmp_path, monkeypatch):
    adata = vc_contracts.read(vc_contracts.write(tmp_path / "p.h5ad", predictions(), "predictions"), "predictions")
    adata.obs["colour"] = "blue"
    adata.write_h5ad(tmp_path / "more.h5ad")
    vc_contracts.read(tmp_path / "more.h5ad", "predictions")
    adata.X[0, 0] += 1
    adata.write_h5ad(tmp_path / "other.h5ad")
    monkeypatch.setenv(SWITCH, "1")
    vc_contracts.read(tmp_path / "other.h5ad", "predictions")


def test_a_lost_chunk_is_noticed(tmp_path):
    path = vc_contracts.write(tmp_path / "p.zarr", predictions(), "predictions")
    chunk = min(part for part in (path / "X").rglob("*") if part.is_file() and part.name != "zarr.json")
    chunk.unlink()
    with pytest.raises(ContractError, match="X"):
        vc_contracts.read(path, "predictions")


def test_parents_in_the_header_cannot_be_changed(tmp_path):
    path = vc_contracts.write(tmp_path / "p.h5ad", predictions(), "predictions")
    adata = anndata.read_h5ad(path)
    adata.uns["contract"] = adata.uns["contract"].replace('"parents": {}', '"parents": {"a": "b"}')
    adata.write_h5ad(path)
    with pytest.raises(ContractError, match="header"):
        vc_contracts.read(path, "predictions")


def test_hashes_are_those_of_the_values_whatever_the_form(tmp_path):
    found = []
    for path in (tmp_path / "p.zarr", tmp_path / "p.h5ad"):
        vc_contracts.write(path, predictions(), "predictions")
        with open_tables(path) as tables:
            found.append(hash_content(tables))
    assert found[0] == found[1]


def test_a_parquet_table_with_bytes_that_are_no_text_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "table.parquet"
    pd.DataFrame({"metric": ["split_half", "mse"], "value": [1.0, 2.0]}).to_parquet(path, compression=None)
    assert read_parquet(path)["metric"].tolist() == ["split_half", "mse"]
    content = bytearray(path.read_bytes())
    content[content.index(b"split_half") + 5] = 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="UTF8"):
        read_parquet(path)


def test_hashes_under_another_name_are_refused(monkeypatch):
    stamped = vc_contracts.content.stamp_json({"contract": {"name": "splits", "parents": {"a": "0" * 64}}, "seed": 1})
    vc_contracts.content.verify_json(stamped, "a.json")
    header = dict(stamped["contract"])
    header["bontent"] = header.pop("content")
    with pytest.raises(ContractError, match="under the name 'content' alone"):
        vc_contracts.content.verify_json({**stamped, "contract": header}, "a.json")
    monkeypatch.setenv(SWITCH, "1")
    vc_contracts.content.verify_json({**stamped, "contract": header}, "a.json")
