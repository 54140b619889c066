"""What an existing file or folder is: which contract, or which marked output of this project."""

import json
from pathlib import Path

from vc_contracts.formats import SCHEMAS

MARKER = ".vc-output.json"
"""In a folder without a contract's header: which kind of output it is and what belongs to it."""
_ANNDATA = {"zarr.json", ".zattrs", ".zgroup", ".zmetadata", "X", "obs", "var", "uns", "layers", "obsm", "varm", "obsp",
            "varp", "raw"}  # fmt: skip
_PARTS = {
    "checkpoint": {"params", "state", "metrics", "config.json", "meta.json", "loader", "log.jsonl"},
    "scores": {"scores.parquet", "scores.json"},
}


def kind_of(path: Path, wanted: str) -> str | None:
    """The kind of an output, or None where this project did not write it.

    Args:
        path: An existing file or folder.
        wanted: The kind to be written; a plain file is of kind `file` whatever it holds.
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
        return wanted
    if SCHEMAS[wanted].form == "json":
        return _name(_contract(_json(path)), "name")
    return _name(_anndata_header(path), "name")


def header_of(path: Path) -> dict:
    """The header of any contract file, unchecked; empty where there is none."""
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
        return sorted(names - {MARKER, *(listed if isinstance(listed, list) else [])})
    return sorted(names - _PARTS.get(kind, _ANNDATA))


def write_marker(folder: Path, kind: str) -> None:
    """Mark a folder that has no contract's header as an output, with what it holds."""
    if kind not in SCHEMAS:
        holds = sorted(entry.name for entry in folder.iterdir() if entry.name != MARKER)
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
    from vc_contracts.store import open_store, text_at

    try:
        with open_store(path) as store:
            content = json.loads(text_at(store, "uns/contract"))
    except Exception:  # whatever cannot be read is not ours
        return {}
    return content if isinstance(content, dict) else {}
