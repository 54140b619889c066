"""Reading a contract file: guarded, checked whole, as what everybody knows (AnnData, a dictionary)."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vc_contracts.checking import check
from vc_contracts.content import hash_json, verify, verify_hashes, verify_json
from vc_contracts.errors import ContractError
from vc_contracts.formats import SCHEMAS
from vc_contracts.hashing import sha256_tree
from vc_contracts.header import parse_json
from vc_contracts.store import check_files, open_tables, read_anndata, read_parquet
from vc_contracts.tables import Tables


def read(path: str | Path, name: str, *, screen: Any = None) -> Any:
    """Read and check a contract file.

    Args:
        path: A `.zarr` folder or `.h5ad` file; of JSON contracts the file; of `checkpoint` and `scores` the folder.
        name: The contract, e.g. `predictions`.
        screen: For `splits`: the screen that it must be a split of.

    Returns:
        An `anndata.AnnData`; of JSON contracts the object; of a checkpoint its `config.json` and `meta.json`; of scores
        `contract`, `summary` and the `table` (a data frame).

    Raises:
        ContractError: It is no such file or breaks the contract.

    Examples:
        >>> import vc_contracts
        >>> adata = vc_contracts.read("predictions.zarr", "predictions")  # doctest: +SKIP
    """
    form = SCHEMAS[name].form
    if form == "anndata":
        content = read_anndata(path)
    elif form == "json":
        content = read_json(path)
    elif form == "folder":
        content = _read_folder(check_files(path))
    else:
        path = check_files(path)
        content = _read_scores(path)
    header = check(content, name, path, screen=screen)
    if form == "anndata":
        verify(content, header, path)
    elif form == "json":
        verify_json(content, path)
    elif form == "scores":
        hashes = {
            "scores.parquet": sha256_tree(Path(path) / "scores.parquet"),
            "summary": hash_json(content["summary"]),
        }
        verify_hashes(hashes, header, path)
    return content


@contextlib.contextmanager
def open_checked(path: str | Path, name: str) -> Iterator[tuple[Tables, dict[str, Any]]]:
    """Open an AnnData contract with its tables in memory and a CSR `X` still on disk, checked all the same.

    Yields:
        The tables and the header.

    Raises:
        ContractError: As `read`.
    """
    with open_tables(path) as tables:
        taken: dict[str, str] = {}
        header = check(tables, name, path, taken=taken)
        verify(tables, header, path, taken)
        yield tables, header


def read_effects(path: str | Path) -> Any:
    """Read and check an effects-v1 file, as an `anndata.AnnData`.

    Raises:
        ContractError: It is no such file or breaks the contract.
    """
    return read(path, "effects")


def read_json(path: str | Path) -> Any:
    """Parse a JSON file of a stranger.

    Raises:
        ContractError: Absent, not UTF-8, or no JSON.
    """
    path = check_files(path)
    if path.is_dir():
        raise ContractError(path, "file", "a JSON file", "a folder", "Check the path.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ContractError(path, "file", "JSON in UTF-8", f"other bytes ({error})", "Write it again.") from None
    return parse_json(text, path, "file")


def _read_folder(path: Path) -> dict[str, Any]:
    check_files(path)
    for item in SCHEMAS["checkpoint"].fields:
        if item.required and not (path / item.place).exists():
            remedy = SCHEMAS["checkpoint"].remedy
            raise ContractError(path, item.place, "a part of the checkpoint", "nothing", remedy)
    content = {item.place: {} for item in SCHEMAS["checkpoint"].fields if item.place.endswith("/")}
    content |= {name: read_json(path / name) for name in ("config.json", "meta.json")}
    header = content["meta.json"].get("contract") if isinstance(content["meta.json"], dict) else None
    return {**content, "contract": header}


def _read_scores(path: Path) -> dict[str, Any]:
    for name in ("scores.json", "scores.parquet"):
        check_files(path / name)
    content = read_json(path / "scores.json")
    if not isinstance(content, dict):
        raise ContractError(path / "scores.json", "file", "a JSON object", type(content).__name__, "Score again.")
    try:
        table = read_parquet(path / "scores.parquet")
    except ValueError as error:
        raise ContractError(
            path / "scores.parquet", "file", "a parquet table", str(error), SCHEMAS["scores"].remedy
        ) from error
    return {"contract": content.get("contract"), "summary": content.get("summary", {}), "table": table}
