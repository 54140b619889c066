import hashlib

import pytest
from vc_contracts import ContractError, make_header, sha256_tree
from vc_contracts.header import check_header, parse_json


def test_header_time_is_source_date_epoch(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert make_header("screen", writer="vc-contracts")["created"] == "1970-01-02T00:00:00+00:00"


@pytest.mark.parametrize("version", ["\u00b2.0", "-1", "", "one", "0.1", "9" * 5000, "2.0", 1, None])
def test_versions_that_are_none_are_refused(version):
    with pytest.raises(ContractError, match="version"):
        check_header({"name": "screen", "version": version}, "screen", "x")


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "{'a': 1}", "", "\x00"])
def test_hostile_json_is_refused(text):
    with pytest.raises(ContractError, match="JSON"):
        parse_json(text, "x.json", "file")


def test_hash_of_a_folder_is_the_hash_of_its_lines(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"1")
    (tmp_path / "a").write_bytes(b"2")
    one, two = hashlib.sha256(b"1").hexdigest(), hashlib.sha256(b"2").hexdigest()
    assert sha256_tree(tmp_path) == hashlib.sha256(f"a\0{two}\nb/c\0{one}\n".encode()).hexdigest()
