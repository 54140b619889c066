"""The contract screen-v1: one perturbation screen of raw counts, written, checked, read and described.

Defined in docs/contracts/screen-v1.md. How a foreign file becomes one is decided in `convert.py`.
"""

import json
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from vc_contracts.content import Digest, stamp
from vc_contracts.errors import raised_as
from vc_contracts.progress import progress
from vc_contracts.store import open_tables
from vc_contracts.tables import blocks

from vc_data.contract import check_target, make_header, write_whole
from vc_data.errors import ContractError, OutputError
from vc_data.screen.part import publish, read_note, write_note

OBS_COLUMNS = (
    "perturbation", "target", "cell_line", "batch", "is_control", "mode", "dose", "total_counts", "dataset",
)  # fmt: skip
OBS_OPTIONAL = ("guide",)
VAR_COLUMNS = ("gene_id", "symbol", "measured")
GROUP_COLUMNS = ("cell_line", "perturbation", "batch")
CHUNK = 1 << 17
"""Stored values per zarr chunk: one read of a few hundred cells."""
SHARD = 1 << 22
"""Stored values per zarr shard: one file."""
BATCH_ELEMENTS = 1 << 22
NOTE = "matrix.json"
"""In a work folder: how much of X is written."""


def read_screen(path: str | Path):
    """Read a screen into memory and check it.

    Args:
        path: A `.zarr` folder or an `.h5ad` file.

    Returns:
        An `anndata.AnnData`; `X` is CSR raw counts.

    Raises:
        ContractError: It is not a screen-v1 file, or breaks the contract.
    """
    import vc_contracts

    with raised_as(ContractError):
        return vc_contracts.read(path, "screen")


def read_screen_or_effects(path: str | Path):
    """Read and check a screen or, where its header says so, a table of effects (effects-v1).

    Raises:
        ContractError: It is neither, or breaks its contract.
    """
    import vc_contracts
    from vc_contracts.kinds import exists, header_of

    path = Path(path)
    is_effects = exists(path) and header_of(path).get("name") == "effects"
    with raised_as(ContractError):
        return vc_contracts.read(path, "effects" if is_effects else "screen")


def check_screen(adata, path: str | Path = "screen") -> None:
    """Check everything that screen-v1 says readers refuse.

    Raises:
        ContractError: At the first breach, with file, field, expected, found and remedy.
    """
    import vc_contracts

    with raised_as(ContractError):
        vc_contracts.check(adata, "screen", path)


def check_tables(obs, var, uns, path: str | Path) -> None:
    """Check header, columns, names and groups (everything but the counts)."""
    import vc_contracts
    from vc_contracts.tables import Tables

    with raised_as(ContractError):
        vc_contracts.check(Tables(obs, var, uns, None), "screen", path, counts=False)


def check_matrix(counts, path: str | Path) -> None:
    """Check that X is CSR with whole, finite, non-negative counts, sorted, without stored zeros."""
    from vc_contracts.formats import SCREEN
    from vc_contracts.matrix import check_matrix as check

    def refuse(field: str, expected: str, found: Any) -> NoReturn:
        raise ContractError(path, field, expected, str(found), SCREEN.remedy)

    check(counts, SCREEN.field("X"), refuse)


def write_screen(
    obs,
    var,
    rows: Callable[[np.ndarray], Any],
    path: str | Path,
    *,
    alignment: dict,
    parents: dict[str, str] | None = None,
    config: dict | None = None,
    seed: int = 0,
    max_count: int = np.iinfo(np.uint32).max,
    overwrite: bool = False,
    filters: dict | None = None,
    measured: dict[str, np.ndarray] | None = None,
    part: Path | None = None,
    target_genes: dict | None = None,
    controls_only: bool = False,
) -> None:
    """Write a screen: group the rows, shuffle within groups, write whole or not at all.

    Rows are asked for a batch at a time, so the counts need never be in memory together. For a matrix that is, pass
    `X.__getitem__`.

    Args:
        obs: [n] Cells, a data frame with the columns of screen-v1 (and `guide`, where known), in any order of rows.
        var: [g] Genes, a data frame with the columns of screen-v1.
        rows: Gives `counts_bg`, a CSR matrix with sorted indices, for an array of row numbers of `obs`.
        path: Target; a folder whose name ends in `.zarr`.
        alignment: How genes were matched, JSON.
        parents: File name -> sha256 of what the screen was made from.
        config: What made it, JSON.
        seed: Of the shuffle within groups; the same seed gives the same bytes.
        max_count: No count is above this; decides the smallest integer type that X can have.
        overwrite: Replace an existing target.
        filters: Which cells were left out and why, JSON.
        measured: Data set -> [g] bool, where the screen joins several data sets.
        part: Work folder (`part.open_part`): what an earlier call wrote there is not written again.
        target_genes: Which gene each target is, JSON.
        controls_only: The screen holds control cells and no others.

    Raises:
        ContractError: The tables break the contract; nothing is written.
        OutputError: The target exists or cannot be written.
    """
    path = Path(path)
    if path.suffix != ".zarr":
        raise OutputError(path, "output", "a name that ends in .zarr", repr(path.name), "Choose such a name.")
    obs, order = _in_order(obs, seed)
    header = make_header("screen", parents=parents, config=config)
    uns, varm = _make_uns(obs, header, alignment, filters, target_genes, controls_only, measured)
    check_tables(obs, var, uns, path)

    def build(folder: Path) -> None:
        # zarr says that consolidated metadata is not in the zarr 3 specification; readers here and anndata use it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            note = None if part is None else part / NOTE
            if note is None or read_note(note) is None:
                _write_tables(folder, obs, var, uns, varm)
            else:
                # zarr writes a file beside its place and renames it; a kill leaves what it had begun.
                for begun in list(folder.rglob("*.partial")):
                    begun.unlink()
            taken = _write_matrix(folder, rows, order, len(var), np.min_scalar_type(max_count), note)
            _stamp(folder, taken)

    if part is None:
        with write_whole(path, kind="screen", overwrite=overwrite) as temporary:
            build(temporary)
    else:
        path = check_target(path, kind="screen", overwrite=overwrite)
        build(part / "screen")
        publish(part / "screen", path)


def _in_order(obs, seed: int):
    """The columns of screen-v1 with rows in their order, labels as categories; and that order of rows."""
    import pandas as pd

    kept = [*OBS_COLUMNS, *(column for column in OBS_OPTIONAL if column in obs)]
    obs = obs[kept].astype({"mode": np.int8, "dose": np.float32, "total_counts": np.float32})
    order = _row_order(obs, seed)
    obs = obs.iloc[order]
    for column in ("perturbation", "target", "cell_line", "batch", "dataset", *kept[len(OBS_COLUMNS) :]):
        obs[column] = pd.Categorical(obs[column].astype(str))
    return obs, order


def _row_order(obs, seed: int) -> np.ndarray:
    """[n] Order of rows: cell line, controls first, perturbation, batch; shuffled within."""
    import pandas as pd

    keys = {column: pd.Categorical(obs[column].astype(str)).codes for column in GROUP_COLUMNS}
    shuffle = np.random.default_rng(seed).permutation(len(obs))
    perturbed = ~obs["is_control"].to_numpy()
    return np.lexsort((shuffle, keys["batch"], keys["perturbation"], perturbed, keys["cell_line"]))


def _make_uns(
    obs,
    header: dict,
    alignment: dict,
    filters: dict | None,
    target_genes: dict | None,
    controls_only: bool,
    measured: dict[str, np.ndarray] | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the screen says of itself: `uns`, and `varm` where it joins several data sets."""
    uns: dict[str, Any] = {
        "contract": json.dumps(header, sort_keys=True),
        "alignment": json.dumps(alignment),
        "groups": _plain(_make_groups(obs)),
    }
    if filters is not None:
        uns["filters"] = json.dumps(filters)
    if target_genes is not None:
        uns["target_genes"] = json.dumps(target_genes)
    if controls_only:
        uns["controls_only"] = True
    varm: dict[str, Any] = {}
    if measured is not None:
        uns["datasets"] = np.array(list(measured), dtype=object)
        varm["measured"] = np.column_stack(list(measured.values()))
    return uns, varm


def _make_groups(obs):
    """One row per run of (cell_line, perturbation, batch), with its slice."""
    import pandas as pd

    codes = np.stack([obs[column].cat.codes.to_numpy() for column in GROUP_COLUMNS])
    start = np.flatnonzero(np.concatenate([[True], (np.diff(codes, axis=1) != 0).any(axis=0)]))
    groups = {column: obs[column].astype(str).to_numpy()[start] for column in GROUP_COLUMNS}
    stop = np.append(start[1:], len(obs))
    index = np.arange(len(start)).astype(str)
    return pd.DataFrame({**groups, "start": start.astype(np.int64), "stop": stop.astype(np.int64)}, index=index)


def _plain(table):
    """A table whose strings are Python objects: anndata stores these as one array, which every reader knows."""
    table = table.astype({column: object for column in table.columns if table[column].dtype == "str"})
    return table.set_index(table.index.astype(object))


def _write_tables(folder: Path, obs, var, uns: dict[str, Any], varm: dict[str, Any]) -> None:
    """Write everything but X."""
    import anndata

    tables = anndata.AnnData(obs=_plain(obs), var=_plain(var[list(VAR_COLUMNS)]), uns=uns, varm=varm)
    tables.write_zarr(folder, convert_strings_to_categoricals=False)


def _write_matrix(
    folder: Path, rows, order: np.ndarray, n_genes: int, dtype: np.dtype, note: Path | None
) -> dict[str, str]:
    """Write X as AnnData's CSR, a shard at a time; with a note, from where an earlier call was killed."""
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

    root: Any = zarr.open_group(folder, mode="r+", use_consolidated=False)
    done = read_note(note) if note else None
    lengths, start, skip = np.zeros(len(order), np.int64), 0, 0
    if note is None or done is None:
        group = root.create_group("X", overwrite=True)
        shape = [len(order), n_genes]
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": shape})
        settings = {"shape": (0,), "chunks": (CHUNK,), "shards": (SHARD,)}
        group.create_array("data", dtype=dtype, compressors=ZstdCodec(level=1, checksum=True), **settings)
        # Rising positions differ in their low bytes: bytes of one rank together take half the room and a sixth of the time.
        shuffled = BloscCodec(typesize=4, cname="zstd", clevel=3, shuffle="shuffle")
        group.create_array("indices", dtype=np.int32, compressors=[shuffled, Crc32cCodec()], **settings)
        if note:
            _lengths_file(note).write_bytes(b"")
            write_note(note, {"n_values": 0, "n_rows": 0})
    else:
        group = root["X"]
        ends = np.cumsum(np.fromfile(_lengths_file(note), np.int64, count=done["n_rows"]))
        # The first row of which something is missing, and how much of it is there.
        start = int(np.searchsorted(ends, done["n_values"], side="right"))
        before = int(ends[start - 1]) if start else 0
        lengths[:start] = np.diff(ends[:start], prepend=0)
        skip = done["n_values"] - before
        os.truncate(_lengths_file(note), 8 * start)
    n_values = done["n_values"] if done else 0
    columns = {name: _Column(group[name], n_values) for name in ("data", "indices")}
    step, noted = max(1, min(1024, BATCH_ELEMENTS >> 14)), start
    with (
        ThreadPoolExecutor(1) as pool,
        progress(total=len(order), initial=start, desc="writing screen", unit="cell", leave=True) as bar,
    ):
        following = pool.submit(rows, order[start : start + step])
        while start < len(order):
            block = following.result()
            stop = start + block.shape[0]
            lengths[start:stop] = np.diff(block.indptr)
            step = max(1, min(16 * 1024, BATCH_ELEMENTS * stop // max(int(lengths.sum()), 1)))
            if stop < len(order):
                # Gathered while this block is compressed.
                following = pool.submit(rows, order[stop : stop + step])
            columns["data"].append(block.data[skip:].astype(dtype, copy=False))
            columns["indices"].append(block.indices[skip:].astype(np.int32, copy=False))
            bar.update(stop - start)
            start, skip = stop, 0
            if note and columns["data"].n_written > n_values:
                n_values = columns["data"].n_written
                with _lengths_file(note).open("ab") as file:
                    file.write(lengths[noted:stop].tobytes())
                write_note(note, {"n_values": n_values, "n_rows": stop})
                noted = stop
    for column in columns.values():
        column.close()
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    group.create_array("indptr", data=indptr, compressors=ZstdCodec(level=1, checksum=True), overwrite=True)
    if done is not None:
        return {f"X/{name}": _digest_of(group[name]) for name in columns}
    return {f"X/{name}": column.digest.hex() for name, column in columns.items()}


def _lengths_file(note: Path) -> Path:
    """Where the numbers of values of the rows that are written stand, beside the note."""
    return note.with_suffix(".i8")


def _digest_of(array) -> str:
    """The hash of an array on disk, after a run that began it was killed."""
    digest = Digest()
    for start, stop in blocks(array.shape[0]):
        values = np.asarray(array[start:stop])
        digest.add(values.astype(np.int64) if array.basename == "indices" else values)
    return digest.hex()


def _stamp(folder: Path, taken: dict[str, str]) -> None:
    """Put the hashes of everything that was written into the header."""
    import anndata
    import zarr

    with open_tables(folder, checked=True) as tables:
        header = json.loads(tables.uns["contract"])
        stamped = stamp(tables, header)
    stamped["content"] = dict(sorted((stamped["content"] | taken).items()))
    root: Any = zarr.open_group(folder, mode="r+", use_consolidated=False)
    anndata.io.write_elem(root["uns"], "contract", json.dumps(stamped, sort_keys=True))
    zarr.consolidate_metadata(root.store)


class _Column:
    """A growing zarr array that is only ever written in whole shards, so that no shard is written twice."""

    def __init__(self, array, n_written: int):
        if array.shape[0] != n_written:
            array.resize((n_written,))
        self._array = array
        self.digest = Digest()
        self._waiting: list[np.ndarray] = []
        self._n_waiting = 0
        self.n_written = n_written

    def append(self, values: np.ndarray) -> None:
        self.digest.add(values.astype(np.int64) if self._array.basename == "indices" else values)
        self._waiting.append(values)
        self._n_waiting += len(values)
        if self._n_waiting >= SHARD:
            values = np.concatenate(self._waiting)
            whole = len(values) // SHARD * SHARD
            self._write(values[:whole])
            self._waiting, self._n_waiting = [values[whole:]], len(values) - whole

    def close(self) -> None:
        if self._n_waiting:
            self._write(np.concatenate(self._waiting))
        self._waiting, self._n_waiting = [], 0

    def _write(self, values: np.ndarray) -> None:
        self._array.resize((self.n_written + len(values),))
        self._array[self.n_written :] = values
        self.n_written += len(values)
