import dataclasses
import json

import anndata
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from vc_featurize.bank import FeatureBank, read_features, write_features
from vc_featurize.errors import ContractError, VcFeaturizeError


def make_bank(vectors_ef=None, **changes):
    if vectors_ef is None:
        vectors_ef = np.array([[1, 2], [0, 0], [-3, 0.5]], np.float32)
    n, f = vectors_ef.shape
    bank = FeatureBank(
        vectors_ef=vectors_ef,
        entities=tuple(f"G{i}" for i in range(n)),
        kinds=("gene",) * n,
        sources=tuple("" if i == 1 else f"record {i}" for i in range(n)),
        missing=np.array([i == 1 for i in range(n)]),
        dims=tuple(f"d{i}" for i in range(f)),
        encoder={"id": "toy", "revision": "1", "pooling": "none", "dtype": "float32", "dim": f, "licence": "unstated"},
        notes=("", "not found", "") if n == 3 else (),
    )
    return dataclasses.replace(bank, **changes)


@pytest.mark.parametrize("suffix", [".zarr", ".h5ad"])
def test_round_trip_keeps_every_field(tmp_path, suffix):
    bank = make_bank()
    path = write_features(tmp_path / f"bank{suffix}", bank, parents={"x.gmt": "ab"}, config={"dim": 2})
    back = read_features(path)
    np.testing.assert_array_equal(back.vectors_ef, bank.vectors_ef)
    np.testing.assert_array_equal(back.missing, bank.missing)
    for name in ("entities", "kinds", "sources", "dims", "encoder", "notes"):
        assert getattr(back, name) == getattr(bank, name), name
    assert back.header["name"] == "features"
    assert back.header["parents"] == {"x.gmt": "ab"}
    assert back.header["config"] == {"dim": 2}


@settings(deadline=None)
@given(
    vectors_ef=arrays(
        np.float32, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(-1e6, 1e6, width=32)
    ),
    data=st.data(),
)
def test_any_finite_bank_survives_the_round_trip(tmp_path_factory, vectors_ef, data):
    names = data.draw(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8), unique=True,
                 min_size=len(vectors_ef), max_size=len(vectors_ef))
    )  # fmt: skip
    bank = make_bank(vectors_ef, entities=tuple(names), missing=~vectors_ef.any(axis=1))
    back = read_features(write_features(tmp_path_factory.mktemp("bank") / "b.zarr", bank))
    assert back.entities == bank.entities
    np.testing.assert_array_equal(back.vectors_ef, vectors_ef)


def test_opens_in_anndata_with_plain_strings(tmp_path):
    adata = anndata.read_zarr(write_features(tmp_path / "b.zarr", make_bank()))
    assert adata.obs_names.tolist() == ["G0", "G1", "G2"]
    assert json.loads(adata.uns["contract"])["writer"] == "vc-featurize"
    assert json.loads((tmp_path / "b.zarr/obs/_index/zarr.json").read_text())["attributes"]["encoding-type"] == (
        "string-array"
    )


def test_created_follows_source_date_epoch(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert (
        read_features(write_features(tmp_path / "b.zarr", make_bank())).header["created"] == "1970-01-02T00:00:00+00:00"
    )


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"entities": ("G0", "G0", "G2")}, "obs index"),
        ({"dims": ("d", "d")}, "var index"),
        ({"kinds": ("gene", "gene", "planet")}, "kind"),
        ({"missing": np.array([True, True, False])}, "missing"),
        ({"missing": np.array([0, 1, 0])}, "missing"),
        ({"vectors_ef": np.array([[np.nan, 1], [0, 0], [1, 1]], np.float32)}, "finite"),
        ({"vectors_ef": np.zeros((3, 2))}, "float32"),
        ({"vectors_ef": np.zeros((4, 2), np.float32)}, "shape"),
        ({"notes": ("a",)}, "notes"),
        ({"encoder": {"id": "toy"}}, "revision"),
        ({"encoder": {**make_bank().encoder, "dim": 3}}, "dim"),
    ],
)
def test_writer_refuses_and_leaves_nothing(tmp_path, changes, word):
    with pytest.raises(ContractError, match=word) as refusal:
        write_features(tmp_path / "b.zarr", dataclasses.replace(make_bank(), **changes))
    assert "b.zarr" in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def _edit(path, change):
    """Change a written file as AnnData, the way a careless user would."""
    adata = anndata.read_h5ad(path)
    change(adata)
    adata.write_h5ad(path)


def _set_header(**values):
    def change(adata):
        header = json.loads(adata.uns["contract"])
        adata.uns["contract"] = json.dumps({key: v for key, v in {**header, **values}.items() if v is not None})

    return change


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (_set_header(name="screen"), "name"),
        (_set_header(name=None), "name"),
        (_set_header(version=None), "version"),
        (_set_header(version="2.0"), "version"),
        (_set_header(version="soon"), "version"),
        (lambda a: a.uns.pop("contract"), "contract"),
        (lambda a: a.uns.update(contract="no json"), "contract"),
        (lambda a: a.uns.update(contract="[]"), "contract"),
        (lambda a: a.uns.pop("encoder"), "encoder"),
        (lambda a: a.obs.pop("kind"), "kind"),
        (lambda a: a.obs.pop("source"), "source"),
        (lambda a: a.obs.pop("missing"), "missing"),
    ],
)
def test_reader_refuses(tmp_path, change, word):
    path = write_features(tmp_path / "b.h5ad", make_bank())
    _edit(path, change)
    with pytest.raises(ContractError, match=word) as refusal:
        read_features(path)
    assert str(path) in str(refusal.value)


def test_reader_accepts_a_greater_minor_version_and_unknown_parts(tmp_path):
    path = write_features(tmp_path / "b.h5ad", make_bank())

    def change(adata):
        _set_header(version="1.7", content=None)(adata)
        adata.obs["extra"] = 1.5
        adata.layers["extra"] = adata.X
        adata.uns["extra"] = "x"

    _edit(path, change)
    assert read_features(path).header["version"] == "1.7"


def test_damaged_files_are_refused(tmp_path):
    path = write_features(tmp_path / "b.zarr", make_bank())
    chunk = next(p for p in sorted((path / "X").rglob("*")) if p.is_file() and p.name != "zarr.json")
    chunk.write_bytes(chunk.read_bytes()[:5])
    h5ad = write_features(tmp_path / "b.h5ad", make_bank())
    h5ad.write_bytes(h5ad.read_bytes()[: h5ad.stat().st_size // 2])
    (tmp_path / "empty.zarr").mkdir()
    (tmp_path / "text.h5ad").write_text("hello")
    for bad in (path, h5ad, tmp_path / "empty.zarr", tmp_path / "text.h5ad", tmp_path / "absent.zarr"):
        with pytest.raises(ContractError, match=bad.name):
            read_features(bad)


def test_replaces_an_old_bank_whole(tmp_path):
    write_features(tmp_path / "b.zarr", make_bank())
    write_features(tmp_path / "b.zarr", make_bank(np.ones((5, 4), np.float32), missing=np.zeros(5, bool)))
    assert read_features(tmp_path / "b.zarr").vectors_ef.shape == (5, 4)
    assert [p.name for p in tmp_path.iterdir()] == ["b.zarr"]


def test_contract_error_is_a_package_error_and_a_value_error():
    assert issubclass(ContractError, VcFeaturizeError)
    assert issubclass(VcFeaturizeError, ValueError)
