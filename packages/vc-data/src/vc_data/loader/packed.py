"""The packed copy of a screen: what the loader reads instead of X and obs.

`NAME.zarr` stays as screen-v1 says and is never touched; the copy lies beside it as `NAME.zarr.packed`, so the screen's
hash (which splits name as their parent) does not depend on whether it was ever loaded. The copy is a zarr v3 group:

- `codes` [m] uint8: genes and counts (see `kernel`), rows one after the other, checksummed chunks in shards.
- per row: `offsets` [n + 1] int64 into codes, `row` int32 (its row in the screen), `pool` int32 (its (cell line, batch)),
  `total` float32, `mode` int8, `dose` float32.
- attributes: format version, hashes, genes, conditions, (cell line, batch) pairs, names of control cells.

Rows keep the screen's order of (cell line, perturbation) but are shuffled within it, across batches: any run of rows of a
condition is a random draw from it, so a set of cells is one contiguous read.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from vc_contracts.bucket.address import is_address, parse, shown
from vc_contracts.bucket.client import tensorstore_limits, tensorstore_place
from vc_contracts.bucket.errors import BucketError, told_of
from vc_contracts.bucket.lazy import LazyCopy
from vc_contracts.bucket.remote import items_in, put, read_bytes
from vc_contracts.kinds import exists

from vc_data.contract import sha256_tree
from vc_data.errors import ContractError

FORMAT = "vc-data packed screen"
VERSION = 2
ROW_ARRAYS = {"row": np.int32, "pool": np.int32, "total": np.float32, "mode": np.int8, "dose": np.float32}
_STAMP = "stamp.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PackedScreen:
    """An open packed copy; per-row arrays are in memory (25 bytes a cell), codes are on disk."""

    path: Path
    screen_path: Path
    attributes: dict[str, Any]
    offsets: np.ndarray
    """[n + 1] int64: where each packed row begins in the codes."""
    row: np.ndarray
    """[n] int32: row of the screen."""
    pool: np.ndarray
    """[n] int32: index into `pools`, the (cell line, batch)."""
    total: np.ndarray
    """[n] float32: library size over all genes."""
    mode: np.ndarray
    dose: np.ndarray
    codes: Any
    lazy: LazyCopy | None = None
    """Of a copy in a bucket: brings the files of the codes here, each when it is first needed."""

    @property
    def genes(self) -> list[str]:
        """Names of the gene axis."""
        return self.attributes["genes"]

    @property
    def conditions(self) -> list[tuple[str, str, str, int, int]]:
        """(cell line, perturbation, target, start, stop), tiling the packed rows; controls are `control`."""
        return self.attributes["conditions"]

    @property
    def pools(self) -> list[tuple[str, str]]:
        """(cell line, batch) pairs."""
        return self.attributes["pools"]

    def read(self, start: int, stop: int):
        """Begin to read packed rows; `.result()` of what is returned gives codes [m] uint8."""
        lo, hi = int(self.offsets[start]), int(self.offsets[stop])
        if self.lazy is None:
            return self.codes[lo:hi].read()
        shard = self.codes.chunk_layout.write_chunk.shape[0]
        names = [f"codes/c/{i}" for i in range(lo // shard, -(-hi // shard))]
        if all(self.lazy.has(name) for name in names):
            return self.codes[lo:hi].read()
        return self.lazy.after(names, lambda: self.codes[lo:hi].read().result())

    def finish(self, read) -> np.ndarray:
        """Codes of a read, or a refusal that says what to do about a damaged copy.

        Raises:
            ContractError: The copy on disk is damaged.
        """
        try:
            return read.result()
        except BucketError:
            raise
        except ValueError as error:
            if is_address(self.path) and (told := told_of(error, shown(self.path))) is not None:
                raise told from None
            found = f"{str(error).splitlines()[0][:200]}"
            do = "Delete that folder; it is made again from the screen at the next opening."
            raise ContractError(self.path, "codes", "undamaged data", found, do) from None


def packed_path(screen_path: str | Path, packed_dir: str | Path | None = None) -> Path:
    """Where the packed copy of a screen lies: beside it, or in `packed_dir`."""
    screen_path = Path(screen_path)
    return (Path(packed_dir) if packed_dir else screen_path.parent) / f"{screen_path.name}.packed"


def find_fault(screen_path: Path, path: Path) -> str | None:
    """Say why a packed copy cannot be used, or None if it can.

    Checked against the screen by hash: at once where names, sizes and times of the screen's files are those of the last
    check, by reading the screen wholly otherwise. The copy's own bytes carry checksums that reading checks.
    """
    if not exists(path):
        return "no packed copy"
    try:
        attributes = json.loads(_read(path, "zarr.json"))["attributes"]
        stamp = json.loads(_read(path, _STAMP))
        if attributes["format"] != FORMAT or attributes["version"] != VERSION:
            return f"packed copy of another version ({attributes['version']!r})"
        if _sizes(path) != stamp["packed"]:
            return "packed copy with missing or cut files"
        screen = read_times(screen_path)
        if screen == stamp["screen"]:
            return None
        if sha256_tree(screen_path) != attributes["screen_sha256"]:
            return "packed copy of another screen (hashes differ)"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"unreadable packed copy ({type(error).__name__}: {error})"
    # A copied screen has other times; without the right to write, the hash is taken at every opening.
    with contextlib.suppress(OSError, BucketError):
        write_stamp(path, screen)
    return None


def load_packed(path: Path, screen_path: Path) -> PackedScreen:
    """Open a packed copy that `find_fault` finds nothing wrong with.

    Raises:
        ContractError: An array is damaged.
    """
    import tensorstore as ts

    lazy = None
    if is_address(path):
        lazy = LazyCopy(path)
        if lazy.fits():
            for coming in lazy.fetch(name for name in lazy.items if not name.startswith("codes/c/")):
                coming.result()
            path = lazy.folder
        else:
            _log.warning("%s does not fit on the disk of %s; it is read in place.", shown(path), lazy.folder)
            lazy = None
    limits: dict[str, Any] = {
        "cache_pool": {"total_bytes_limit": 0},
        "data_copy_concurrency": {"limit": 2},
        "file_io_concurrency": {"limit": 8},
    }
    context = ts.Context(limits | (tensorstore_limits() if is_address(path) else {}))

    def begin(name: str):
        local = {"driver": "file", "path": str(path / name)}
        spec = {
            "driver": "zarr3",
            "kvstore": tensorstore_place(parse(path / name)) if is_address(path) else local,
            "recheck_cached_data": False,
            "recheck_cached_metadata": False,
        }
        return ts.open(spec, context=context, read=True, open=True)

    attributes = json.loads(_read(path, "zarr.json"))["attributes"]
    opening = {name: begin(name) for name in ("codes", "offsets", *ROW_ARRAYS)}
    try:
        reading = {name: future.result().read() for name, future in opening.items() if name != "codes"}
        arrays = {name: read.result() for name, read in reading.items()}
    except ValueError as error:
        if is_address(path) and (told := told_of(error, shown(path))) is not None:
            raise told from None
        do = "Delete that folder; it is made again from the screen at the next opening."
        raise ContractError(path, "arrays", "undamaged data", str(error).splitlines()[0][:200], do) from None
    return PackedScreen(
        path=path, screen_path=screen_path, attributes=attributes, codes=opening["codes"].result(), lazy=lazy, **arrays
    )


def _read(path: Path, name: str) -> str:
    """A small file of a packed copy."""
    if is_address(path):
        return read_bytes(parse(path / name)).decode()
    return (path / name).read_text()


def _sizes(path: Path) -> dict[str, int]:
    if is_address(path):
        return {name: item.size for name, item in items_in(parse(path)).items() if name != _STAMP}
    return {name: stat.st_size for name, stat in _iter_files(path) if name != _STAMP}


def read_times(screen_path: Path) -> dict[str, list]:
    """Size in bytes and time of change in ns of every file of a screen; in a bucket, size and tag of every object."""
    if is_address(screen_path):
        return {name: list(item) for name, item in items_in(parse(screen_path)).items()}
    if not screen_path.is_dir():
        return {"": [screen_path.stat().st_size, screen_path.stat().st_mtime_ns]}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in _iter_files(screen_path)}


def _iter_files(folder: Path | os.DirEntry[str], prefix: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Name within the folder and state of each file in it and below, in order of names; pathlib takes ten times as long."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _iter_files(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}", entry.stat()


def write_stamp(path: Path, screen: dict) -> None:
    """Note the sizes of a copy's files, and sizes and times of the screen's (`read_times`), with which it agrees."""
    text = json.dumps({"packed": _sizes(path), "screen": screen})
    if is_address(path):
        put(parse(path / _STAMP), text.encode())
        return
    temporary = path / f".{_STAMP}.tmp-{os.getpid()}"
    temporary.write_text(text)
    temporary.replace(path / _STAMP)
