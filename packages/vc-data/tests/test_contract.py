import hashlib
import json

import pytest
from vc_data.contract import check_header, make_header, sha256_tree, write_whole
from vc_data.errors import ContractError, OutputError


def test_header_time_is_source_date_epoch(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert make_header("screen")["created"] == "1970-01-02T00:00:00+00:00"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "not json",
        "[]",
        {"version": "1.0"},
        {"name": "screen"},
        {"name": "splits", "version": "1.0"},
        {"name": "screen", "version": "2.0"},
        {"name": "screen", "version": "one"},
    ],
)
def test_header_is_refused(header):
    with pytest.raises(ContractError, match=r"x\.zarr: contract"):
        check_header(header, "screen", "x.zarr")


def test_newer_minor_version_and_unknown_keys_are_read():
    header = {"name": "screen", "version": "1.7", "colour": "blue"}
    assert check_header(json.dumps(header), "screen", "x") == header


def test_hash_of_a_folder_is_the_hash_of_its_lines(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"1")
    (tmp_path / "a").write_bytes(b"2")
    one, two = hashlib.sha256(b"1").hexdigest(), hashlib.sha256(b"2").hexdigest()
    assert sha256_tree(tmp_path / "a") == two
    assert sha256_tree(tmp_path) == hashlib.sha256(f"a\0{two}\nb/c\0{one}\n".encode()).hexdigest()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_failure_leaves_nothing_and_keeps_what_was_there(tmp_path, kind):
    target = tmp_path / "out"

    def fill(path, text):
        if kind == "folder":
            path.mkdir()
            path /= "inside"
        path.write_text(text)

    def content():
        return (target / "inside" if kind == "folder" else target).read_text()

    with write_whole(target) as temporary:
        fill(temporary, "first")
    with pytest.raises(KeyboardInterrupt), write_whole(target, overwrite=True) as temporary:
        fill(temporary, "second")
        raise KeyboardInterrupt
    assert content() == "first"
    with write_whole(target, overwrite=True) as temporary:
        fill(temporary, "third")
    assert content() == "third"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_existing_target_and_missing_folder_are_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"), write_whole(tmp_path / "out"):
        pass
    with pytest.raises(OutputError, match="Make the folder"), write_whole(tmp_path / "no" / "out"):
        pass
    assert (tmp_path / "out").read_text() == "mine"
