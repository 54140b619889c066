"""Every reader of every package, over the same valid and broken files."""

import importlib
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import anndata
import numpy as np
import pytest
from make_corpus import ANNDATA_BASES, EXAMPLES

HERE = Path(__file__).resolve().parent
PAGES_DPATH = HERE.parents[1] / "docs" / "contracts"
READERS = {
    "screen": ["vc_data.screen.file:read_screen", "vc_model.contracts:read_screen", "vc_eval.contracts:read_screen"],
    "splits": ["vc_data.split:read_splits", "vc_model.contracts:read_splits", "vc_eval.contracts:read_splits"],
    "features": ["vc_featurize.bank:read_features", "vc_model.contracts:read_features"],
    "predictions": ["vc_model.contracts:read_predictions", "vc_eval.contracts:read_predictions"],
    "effects": ["vc_contracts.reading:read_effects"],
    "checkpoint": ["vc_model.checkpoint:load_checkpoint"],  # exercised in test_checkpoint.py
    "latents": ["vc_interp.latents:read_latents"],
    "scores": ["vc_eval.contracts:read_scores"],
}
CASES = [(reader, example) for example in EXAMPLES for reader in READERS[example.contract]]
VALID = [case for case in CASES if not case[1].words]
BROKEN = [case for case in CASES if case[1].words]
ANNDATA_READERS = [(contract, reader) for contract in ANNDATA_BASES for reader in READERS[contract]]


def case_id(value: object) -> str:
    return getattr(value, "path", str(value))


def find(reader: str) -> Callable:
    """The reader `module:function`; a missing one fails with what to do."""
    module_name, function_name = reader.split(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name, None)
    except ModuleNotFoundError as error:
        pytest.fail(f"{reader} is listed as a reader, but {error.name} does not exist: write it, or change READERS")
    if function is None:
        pytest.fail(
            f"{reader} is listed as a reader, but {module_name} has no {function_name}: write it, or change READERS"
        )
    return function


@cache
def screen_of(package: str, path: Path) -> object:
    """The corpus screen, as the package's own reader gives it."""
    (reader,) = (r for r in READERS["screen"] if r.startswith(f"{package}."))
    return find(reader)(path)


def read(reader: str, contract: str, path: Path, corpus: Path) -> object:
    if contract != "splits":
        return find(reader)(path)
    return find(reader)(path, screen=screen_of(reader.split(".")[0], corpus / "screen" / "valid" / "plain.zarr"))


def is_refusal(error: Exception, reader: str) -> bool:
    """Whether an error is the ContractError (or a kind of it) of the reader's own package."""
    package = reader.split(".")[0]
    return isinstance(error, ValueError) and any(
        kind.__name__ == "ContractError" and kind.__module__.startswith(package) for kind in type(error).__mro__
    )


def test_the_table_of_contracts_lists_these_readers():
    rows = re.findall(
        r"^\| \[([a-z]+)-v1\]\(.*?\) \| (.*?) \| (.*?) \|", (PAGES_DPATH / "README.md").read_text(), re.MULTILINE
    )
    assert {name for name, _, _ in rows} == set(READERS)
    for name, _, read_by in rows:
        expected = set(re.findall(r"vc-[a-z]+", read_by))
        listed = {reader.split(".")[0].replace("_", "-") for reader in READERS[name]}
        assert expected <= listed, f"{name}: docs/contracts/README.md says that {expected - listed} read it"


@pytest.mark.parametrize("reader", sorted({reader for readers in READERS.values() for reader in readers}))
def test_listed_reader_exists(reader):
    assert callable(find(reader))


def test_corpus_has_valid_and_broken_examples_with_one_name_each():
    paths = [example.path for example in EXAMPLES]
    assert len(set(paths)) == len(paths)
    for contract in set(READERS) - {"checkpoint"}:
        assert sum(example.contract == contract and not example.words for example in EXAMPLES) >= 3
        assert sum(example.contract == contract and bool(example.words) for example in EXAMPLES) >= 12


@pytest.mark.parametrize(("reader", "example"), VALID, ids=case_id)
def test_accepts(reader, example, corpus):
    assert read(reader, example.contract, corpus / example.path, corpus) is not None


@pytest.mark.filterwarnings("ignore")  # anndata warns of repeated names before the reader can refuse them
@pytest.mark.parametrize(("reader", "example"), BROKEN, ids=case_id)
def test_refuses(reader, example, corpus):
    path = corpus / example.path
    with pytest.raises(ValueError) as refusal:
        read(reader, example.contract, path, corpus)
    assert is_refusal(refusal.value, reader), f"{type(refusal.value)}: {refusal.value}"
    message = str(refusal.value)
    assert path.name in message, f"the file is not named: {message}"
    # The file is named after the rule, so the words must stand outside its name.
    rest = message.replace(str(path), "").replace(path.name, "")
    patterns = [r"\bX\b" if word == "X" else rf"(?i)\b{re.escape(word)}" for word in example.words]
    # A file inside an example is a field too.
    assert any(re.search(pattern, rest) for pattern in patterns), f"none of {example.words} in: {message}"


@pytest.mark.parametrize(("contract", "reader"), ANNDATA_READERS, ids=case_id)
def test_refuses_what_is_no_such_file(contract, reader, tmp_path):
    (tmp_path / "empty_folder.zarr").mkdir()
    (tmp_path / "empty_file.h5ad").touch()
    (tmp_path / "text.h5ad").write_text("not HDF5\n" * 100)
    for name in ("absent.zarr", "absent.h5ad", "empty_folder.zarr", "empty_file.h5ad", "text.h5ad"):
        with pytest.raises(ValueError, match=name) as refusal:
            find(reader)(tmp_path / name)
        assert is_refusal(refusal.value, reader), f"{name}: {type(refusal.value)}: {refusal.value}"


@pytest.mark.parametrize(("contract", "reader"), ANNDATA_READERS, ids=case_id)
def test_refuses_a_cut_h5ad(contract, reader, corpus, tmp_path):
    blob = (corpus / contract / "valid" / "plain.h5ad").read_bytes()
    for share in (0.05, 0.3, 0.6, 0.9, 0.999):
        path = tmp_path / f"cut_{share}.h5ad"
        path.write_bytes(blob[: int(len(blob) * share)])
        with pytest.raises(ValueError, match=path.name) as refusal:
            find(reader)(path)
        assert is_refusal(refusal.value, reader), f"{share}: {type(refusal.value)}: {refusal.value}"


@pytest.mark.parametrize(("contract", "reader"), ANNDATA_READERS, ids=case_id)
def test_damage_is_refused_or_harmless_but_never_a_foreign_error(contract, reader, corpus, tmp_path):
    """Cut every chunk in half and flip a bit of it; flip bits of the metadata.

    A flip in an array without checksum can give another valid file; a cut chunk of X cannot.
    """
    path = tmp_path / "damaged.zarr"
    shutil.copytree(corpus / contract / "valid" / "plain.zarr", path)
    rng = np.random.default_rng(0)
    foreign, read_cut_x = [], []

    def damage(part: Path, blob: bytes) -> bool:
        """Whether the damaged file is read all the same."""
        whole = part.read_bytes()
        part.write_bytes(blob)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                find(reader)(path)
        except Exception as error:
            if not is_refusal(error, reader):
                foreign.append(f"{part.relative_to(path)}: {type(error).__name__}: {str(error)[:100]}")
            return False
        finally:
            part.write_bytes(whole)
        return True

    def flip(blob: bytes) -> bytes:
        position = int(rng.integers(len(blob)))
        return blob[:position] + bytes([blob[position] ^ 1]) + blob[position + 1 :]

    metadata = path / "zarr.json"
    damage(metadata, metadata.read_bytes()[: metadata.stat().st_size // 2])
    for _ in range(12):
        damage(metadata, flip(metadata.read_bytes()))
    chunks = [part for part in sorted(path.rglob("*")) if part.is_file() and part.name != "zarr.json"]
    assert chunks
    for part in chunks:
        blob = part.read_bytes()
        if damage(part, blob[: len(blob) // 2]) and part.relative_to(path).parts[0] == "X":
            read_cut_x.append(str(part.relative_to(path)))
        damage(part, flip(blob))
    assert not foreign, "foreign errors:\n" + "\n".join(foreign)
    assert not read_cut_x, f"read although cut in half: {read_cut_x}"


@pytest.mark.parametrize(("contract", "reader"), ANNDATA_READERS, ids=case_id)
def test_frozen_file_stays_readable(contract, reader, tmp_path):
    with zipfile.ZipFile(HERE / "frozen" / f"{contract}-v1.zarr.zip") as archive:
        archive.extractall(tmp_path / f"{contract}.zarr")
    assert find(reader)(tmp_path / f"{contract}.zarr") is not None


@pytest.mark.parametrize("contract", sorted(ANNDATA_BASES))
def test_frozen_file_holds_what_the_corpus_holds(contract, tmp_path):
    with zipfile.ZipFile(HERE / "frozen" / f"{contract}-v1.zarr.zip") as archive:
        archive.extractall(tmp_path / "frozen.zarr")
    frozen, fresh = anndata.read_zarr(tmp_path / "frozen.zarr"), ANNDATA_BASES[contract]()
    dense = [x.X.toarray() if hasattr(x.X, "toarray") else x.X for x in (frozen, fresh)]
    np.testing.assert_array_equal(*dense)
    assert frozen.obs_names.tolist() == fresh.obs_names.tolist()
    assert frozen.obs.columns.tolist() == fresh.obs.columns.tolist()


def test_the_same_seed_makes_the_same_corpus(corpus, tmp_path):
    for example in EXAMPLES:
        if example.contract == "splits" or example.path.endswith("valid/plain.zarr"):
            again = tmp_path / example.path
            again.parent.mkdir(parents=True, exist_ok=True)
            example.make(again)
            for part in [again] if again.is_file() else [p for p in again.rglob("*") if p.is_file()]:
                assert part.read_bytes() == (corpus / part.relative_to(tmp_path)).read_bytes(), part
