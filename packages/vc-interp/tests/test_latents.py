import dataclasses
import json

import anndata
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from vc_interp.errors import ContractError, VcInterpError
from vc_interp.latents import Latents, read_latents, write_latents


def make_latents(values_rd=None, **changes):
    if values_rd is None:
        values_rd = np.array([[1, -2], [0.5, 0], [3, 1], [0, 0]], np.float32)
    n, d = values_rd.shape
    latents = Latents(
        values_rd=values_rd,
        rows=tuple(f"row{i}" for i in range(n)),
        kinds=tuple(("gene", "cell", "condition", "action")[i % 4] for i in range(n)),
        dims=tuple(f"z{i}" for i in range(d)),
        site="residual/hidden",
        model="toy",
    )
    return dataclasses.replace(latents, **changes)


@pytest.mark.parametrize("suffix", [".zarr", ".h5ad"])
def test_round_trip_keeps_every_field(tmp_path, suffix):
    latents = make_latents()
    back = read_latents(write_latents(tmp_path / f"l{suffix}", latents, parents={"m": "ab"}, config={"n": 1}))
    np.testing.assert_array_equal(back.values_rd, latents.values_rd)
    for name in ("rows", "kinds", "dims", "site", "model"):
        assert getattr(back, name) == getattr(latents, name), name
    assert (back.header["parents"], back.header["config"]) == ({"m": "ab"}, {"n": 1})


@settings(deadline=None)
@given(
    values_rd=arrays(
        np.float32, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(-1e6, 1e6, width=32)
    )
)
def test_any_finite_latents_survive_the_round_trip(tmp_path_factory, values_rd):
    back = read_latents(write_latents(tmp_path_factory.mktemp("l") / "l.zarr", make_latents(values_rd)))
    np.testing.assert_array_equal(back.values_rd, values_rd)


def test_of_kind_takes_the_rows_of_that_kind():
    values, rows = make_latents().of_kind("condition")
    assert rows == ("row2",)
    assert values.tolist() == [[3, 1]]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"rows": ("a", "a", "b", "c")}, "obs index"),
        ({"dims": ("z", "z")}, "var index"),
        ({"kinds": ("gene", "gene", "planet", "cell")}, "kind"),
        ({"kinds": ("gene",)}, "kinds"),
        ({"site": ""}, "site"),
        ({"model": ""}, "model"),
        ({"values_rd": np.array([[np.inf, 0]] * 4, np.float32)}, "finite"),
        ({"values_rd": np.zeros((4, 2))}, "float32"),
        ({"values_rd": np.zeros((4, 3), np.float32)}, "shape"),
    ],
)
def test_writer_refuses_and_leaves_nothing(tmp_path, changes, word):
    with pytest.raises(ContractError, match=word) as refusal:
        write_latents(tmp_path / "l.zarr", dataclasses.replace(make_latents(), **changes))
    assert "l.zarr" in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def _set_header(**values):
    def change(adata):
        header = json.loads(adata.uns["contract"])
        adata.uns["contract"] = json.dumps({key: v for key, v in {**header, **values}.items() if v is not None})

    return change


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (_set_header(name="features"), "name"),
        (_set_header(name=None), "name"),
        (_set_header(version=None), "version"),
        (_set_header(version="2.0"), "version"),
        (_set_header(version="?"), "version"),
        (lambda a: a.uns.pop("contract"), "contract"),
        (lambda a: a.uns.update(contract="{"), "contract"),
        (lambda a: a.uns.pop("site"), "site"),
        (lambda a: a.uns.pop("model"), "model"),
        (lambda a: a.obs.pop("kind"), "kind"),
    ],
)
def test_reader_refuses(tmp_path, change, word):
    path = write_latents(tmp_path / "l.h5ad", make_latents())
    adata = anndata.read_h5ad(path)
    change(adata)
    adata.write_h5ad(path)
    with pytest.raises(ContractError, match=word) as refusal:
        read_latents(path)
    assert str(path) in str(refusal.value)


def test_reader_accepts_a_greater_minor_version_and_unknown_parts(tmp_path):
    path = write_latents(tmp_path / "l.h5ad", make_latents())
    adata = anndata.read_h5ad(path)
    _set_header(version="1.3", content=None)(adata)
    adata.obs["extra"] = 1
    adata.obsm["extra"] = np.zeros((4, 2))
    adata.write_h5ad(path)
    assert read_latents(path).header["version"] == "1.3"


def test_damaged_files_are_refused(tmp_path):
    path = write_latents(tmp_path / "l.zarr", make_latents())
    chunk = next(p for p in sorted((path / "X").rglob("*")) if p.is_file() and p.name != "zarr.json")
    chunk.write_bytes(chunk.read_bytes()[:5])
    h5ad = write_latents(tmp_path / "l.h5ad", make_latents())
    h5ad.write_bytes(h5ad.read_bytes()[: h5ad.stat().st_size // 2])
    (tmp_path / "empty.zarr").mkdir()
    for bad in (path, h5ad, tmp_path / "empty.zarr", tmp_path / "absent.zarr"):
        with pytest.raises(ContractError, match=bad.name):
            read_latents(bad)


def test_contract_error_is_a_package_error_and_a_value_error():
    assert issubclass(ContractError, VcInterpError)
    assert issubclass(VcInterpError, ValueError)
