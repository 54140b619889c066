"""What an existing file or folder is: which contract, or which marked output of this project."""

import json
from pathlib import Path

from vc_contracts.bucket.address import is_address
from vc_contracts.bucket.errors import BucketError
from vc_contracts.formats import SCHEMAS

MARKER = ".vc-output.json"
"""In a folder without a contract's header: which kind of output it is and what belongs to it."""
_ANNDATA = {"zarr.json", ".zattrs", ".zgroup", ".zmetadata", "X", "obs", "var", "uns", "layers", "obsm", "varm", "obsp",
            "varp", "raw"}  # fmt: skip
_PARTS = {
    "checkpoint": {"params", "state", "metrics", "config.json", "meta.json", "loader", "log.jsonl", "others"},
    "scores": {"scores.parquet", "scores.json", "report.html", "results.csv", "agg_results.csv"},
}
_HEADS = {
    ".png": (b"\x89PNG",),
    ".pdf": (b"%PDF",),
    ".parquet": (b"PAR1",),
    ".h5ad": (b"\x89HDF",),
    ".gz": (b"\x1f\x8b",),
}
"""How files begin whose names end so; other files of ours are text, or an archive of `ARCHIVED`."""
_BINARY = (*(head for heads in _HEADS.values() for head in heads), b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"\x7fELF")
ARCHIVED = frozenset(["pred.h5ad.zst", "meta.json", "watermark.txt"])
"""Members of the archives that this project writes."""
HEADS = ("meta.json", "scores.json", "zarr.json", ".zgroup", MARKER)
"""Files of which every output that is a folder has one: in a bucket it is written last."""
OUTPUT_MARK = "vc_output"
"""In `uns` of an .h5ad without contract: that it is an output of this project."""


def exists(path: str | Path) -> bool:
    """Whether anything is there, on a disk or in a bucket."""
    if is_address(path):
        from vc_contracts.bucket.remote import exists as is_in_bucket

        return is_in_bucket(path)
    return Path(path).exists()


def kind_of(path: Path, wanted: str) -> str | None:
    """The kind of an output, or None where this project did not write it.

    Args:
        path: An existing file or folder.
        wanted: The kind to be written; a file is of kind `file` where it has the type that its name says, and of kind
            `cells` or `archive` where a mark or its members say that it came from here.
    """
    if path.is_dir():
        if (path / MARKER).is_file():
            return _name(_json(path / MARKER), "kind")
        if (path / "meta.json").is_file():
            return _name(_contract(_json(path / "meta.json")), "name")
        if (path / "scores.json").is_file():
            return _name(_contract(_json(path / "scores.json")), "name")
        return _name(_anndata_header(path), "name")
    if not path.is_file():
        return None
    if wanted not in SCHEMAS:
        return wanted if path.stat().st_size == 0 or _is_such_a_file(path, wanted) else None
    if SCHEMAS[wanted].form == "json":
        return _name(_contract(_json(path)), "name")
    return _name(_anndata_header(path), "name")


def _is_such_a_file(path: Path, wanted: str) -> bool:
    if wanted == "cells":
        return bool(_anndata_text(path, f"uns/{OUTPUT_MARK}")) or _anndata_header(path).get("name") == "predictions"
    if wanted == "archive":
        return _is_archive(path)
    with path.open("rb") as file:
        head = file.read(1 << 12)
    if path.suffix in _HEADS:
        return head.startswith(_HEADS[path.suffix])
    return b"\0" not in head and not head.startswith(_BINARY)


def _is_archive(path: Path) -> bool:
    import tarfile

    try:
        with tarfile.open(path, "r:") as tar:
            return set(tar.getnames()) <= ARCHIVED
    except (tarfile.TarError, OSError, ValueError):
        return False


def header_of(path: Path) -> dict:
    """The header of any contract file, unchecked; empty where there is none."""
    if is_address(path):
        if path.suffix == ".zarr":
            return _anndata_header(path)
        from vc_contracts.bucket.local import fetch

        path = fetch(path)
    if path.is_dir():
        for name in ("meta.json", "scores.json"):
            if (path / name).is_file():
                return _contract(_json(path / name))
        return _anndata_header(path)
    return _contract(_json(path)) if path.suffix == ".json" else _anndata_header(path)


def strangers_in(path: Path, kind: str) -> list[str]:
    """Names in a folder that are no part of such an output."""
    if not path.is_dir():
        return []
    names = {entry.name for entry in path.iterdir()}
    if (path / MARKER).is_file():
        listed = _json(path / MARKER).get("holds")
        own = {name for name in listed if isinstance(name, str)} if isinstance(listed, list) else set()
        return sorted(names - {MARKER} - own - _PARTS.get(kind, set()))
    return sorted(names - _PARTS.get(kind, _ANNDATA))


def write_marker(folder: Path, kind: str) -> None:
    """Mark a folder as an output, with what it holds, where neither a contract's header nor its usual parts say so."""
    holds = sorted(entry.name for entry in folder.iterdir() if entry.name != MARKER)
    if kind not in SCHEMAS or (SCHEMAS[kind].form == "scores" and set(holds) - _PARTS[kind]):
        (folder / MARKER).write_text(json.dumps({"kind": kind, "holds": holds}) + "\n")


def _json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _contract(content: dict) -> dict:
    header = content.get("contract")
    return header if isinstance(header, dict) else {}


def _name(content: dict, key: str) -> str | None:
    name = content.get(key)
    return name if isinstance(name, str) else None


def _anndata_header(path: Path) -> dict:
    """The header of an AnnData, read without its arrays; empty where there is none."""
    try:
        content = json.loads(_anndata_text(path, "uns/contract") or "null")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _anndata_text(path: Path, place: str) -> str:
    from vc_contracts.store import open_store, text_at

    try:
        with open_store(path) as store:
            return text_at(store, place)
    except BucketError:
        raise
    except Exception:  # whatever cannot be read is not ours
        return ""
