"""Makes the packed copy of a screen (what it holds: see `packed`), in bounded memory, whole or not at all."""

import contextlib
import hashlib
import logging
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from vc_contracts.bucket.address import cache_folder, is_address, parse
from vc_contracts.bucket.errors import BucketError
from vc_contracts.bucket.local import upload
from vc_contracts.kinds import exists
from vc_contracts.progress import progress
from vc_contracts.store import open_store
from vc_contracts.whole import clear, lock_output, remove

from vc_data.contract import sha256_tree
from vc_data.errors import ContractError, OutputError
from vc_data.loader.packed import FORMAT, ROW_ARRAYS, VERSION, find_fault, packed_path, read_times, write_stamp

CHUNK = 1 << 16
"""Bytes per compressed chunk: a few dozen cells."""
SHARD = 1 << 22
"""Bytes per file before compression."""
BLOCK_VALUES = 1 << 22
"""Stored counts of X in memory at a time."""
_log = logging.getLogger(__name__)


def pack_screen(screen_path: str | Path, packed_dir: str | Path | None = None) -> Path:
    """Make the packed copy of a screen, unless a valid one is there.

    Memory: a few times `BLOCK_VALUES`, and the largest condition in packed form.

    Args:
        screen_path: A screen-v1 file.
        packed_dir: Folder for the copy; default: beside the screen.

    Returns:
        The path of the copy.

    Raises:
        ContractError: The screen is absent or breaks screen-v1.
        OutputError: The copy cannot be written there.
    """
    screen_path, path = Path(screen_path), packed_path(screen_path, packed_dir)
    if not exists(screen_path):
        raise ContractError(screen_path, "file", "a screen (.zarr folder or .h5ad)", "nothing", "Check the path.")
    fault = find_fault(screen_path, path)
    if fault is None:
        return path
    if is_address(path):
        return _pack_into_bucket(screen_path, path)
    if path.exists():
        _log.warning("%s: %s; it is made again from %s.", path, fault, screen_path)
    temporary = path.with_name(f".{path.name}.tmp-{uuid.uuid4().hex[:12]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One process makes it, the others wait and take its copy.
        with lock_output(path, wait=True):
            if find_fault(screen_path, path) is not None:
                clear(path)
                _write(screen_path, temporary)
                _replace(temporary, path)
    except OSError as error:
        do = "Make room or pass packed_dir, a folder that can be written."
        raise OutputError(path, "packed copy", "a place to write", f"{type(error).__name__}: {error}", do) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path


def _pack_into_bucket(screen_path: Path, path: Path) -> Path:
    """Make the copy here and send it; where that is not allowed, it stays in the folder for local copies."""
    address = parse(path)
    folder = cache_folder() / "packed" / address.scheme / address.bucket
    local = pack_screen(screen_path, folder / Path(address.key).parent)
    try:
        upload(local, path, overwrite=True)
    except BucketError as error:
        _log.warning("%s The packed copy is kept in %s instead.", error, local)
        return local
    remove(local)
    return path


@contextlib.contextmanager
def open_tables(screen_path: Path) -> Iterator[tuple]:
    """Open a screen: its checked obs, var and groups, and its X as on disk (`data`, `indices`, `indptr`).

    Raises:
        ContractError: It is not a screen-v1 file, or breaks the contract outside the counts.
    """
    import anndata

    from vc_data.screen.file import check_tables

    remake = "Write the screen again with 'vc-data convert'."
    with contextlib.ExitStack() as stack:
        try:
            group = stack.enter_context(open_store(screen_path))
            read: Callable[[Any], Any] = anndata.io.read_elem
            obs, var, uns = (read(group[name]) for name in ("obs", "var", "uns"))
        except BucketError:
            raise
        except (OSError, KeyError, ValueError) as error:
            found = f"{type(error).__name__}: {error}"
            raise ContractError(screen_path, "file", "readable AnnData", found, remake) from error
        check_tables(obs, var, uns, screen_path)
        X: Any = group.get("X")
        encoding = X.attrs.get("encoding-type") if X is not None else "nothing"
        if encoding != "csr_matrix" or tuple(X.attrs["shape"]) != (len(obs), len(var)):
            shape = tuple(X.attrs["shape"]) if encoding == "csr_matrix" else ""
            expected = f"a CSR matrix of shape ({len(obs)}, {len(var)})"
            raise ContractError(screen_path, "X", expected, f"{encoding} {shape}", remake)
        yield obs, var, uns["groups"], X


def _write(screen_path: Path, folder: Path) -> None:
    """Write the packed copy into an empty folder name."""
    import zarr

    times, sha256 = read_times(screen_path), sha256_tree(screen_path)
    with open_tables(screen_path) as (obs, var, groups, X):
        root = zarr.create_group(folder, zarr_format=3)
        conditions, pools, pool = _make_tables(obs, groups)
        bounds = np.array([(start, stop) for *_, start, stop in conditions])
        order = _shuffle_within(bounds)
        content, lengths, max_nonzero = _write_codes(root, screen_path, X, len(var), bounds, order)
        _write_array(root, "offsets", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        columns = {"row": order, "pool": pool[order]}
        columns |= {
            "total": obs["total_counts"].to_numpy()[order],
            "mode": obs["mode"].to_numpy()[order],
            "dose": obs["dose"].to_numpy()[order],
        }
        for name, dtype in ROW_ARRAYS.items():
            _write_array(root, name, columns[name].astype(dtype))
        is_control = obs["is_control"].to_numpy()[order]
        root.attrs.update(
            {
                "format": FORMAT,
                "version": VERSION,
                "screen_sha256": sha256,
                "content_sha256": content,
                "dataset": sorted(obs["dataset"].astype(str).unique()),
                "genes": var.index.astype(str).tolist(),
                "measured": var["measured"].tolist(),
                "conditions": conditions,
                "pools": pools,
                "control_names": obs.index.to_numpy()[order][is_control].astype(str).tolist(),
                "max_nonzero": max_nonzero,
            }
        )
    write_stamp(folder, times)


def _make_tables(obs, groups) -> tuple[list, list, np.ndarray]:
    """Conditions that tile the rows, (cell line, batch) pairs, and each row's pair."""
    line, perturbation, batch = (groups[name].astype(str).to_numpy() for name in ("cell_line", "perturbation", "batch"))
    start, stop = groups["start"].to_numpy(), groups["stop"].to_numpy()
    changes = (line[1:] != line[:-1]) | (perturbation[1:] != perturbation[:-1])
    first = np.flatnonzero(np.concatenate([[True], changes]))
    last = np.append(first[1:], len(groups)) - 1
    target = obs["target"].astype(str).to_numpy()
    conditions = [
        (line[f], perturbation[f], target[start[f]], int(start[f]), int(stop[e]))
        for f, e in zip(first, last, strict=True)
    ]
    pairs = sorted(set(zip(line, batch, strict=True)))
    code = {pair: i for i, pair in enumerate(pairs)}
    of_group = np.array([code[pair] for pair in zip(line, batch, strict=True)])
    return conditions, pairs, np.repeat(of_group, stop - start)


def _shuffle_within(bounds: np.ndarray) -> np.ndarray:
    """[n] Rows, shuffled within each condition; always the same for the same sizes."""
    rng = np.random.default_rng(len(bounds))
    which = np.repeat(np.arange(len(bounds)), bounds[:, 1] - bounds[:, 0])
    return np.lexsort((rng.random(len(which)), which))


def _write_codes(root, screen_path, X, n_genes: int, bounds, order) -> tuple[str, np.ndarray, int]:
    """Encode X block by block and write it in packed order.

    Returns:
        Hash of the encoded counts in the screen's order (so independent of names), [n] bytes per packed row, and the most
        stored counts of a row.
    """
    from vc_data.loader import kernel

    indptr = np.asarray(X["indptr"][:], np.int64)
    out = _Codes(root)
    digest = hashlib.sha256(str(n_genes).encode())
    n = len(order)
    lengths = np.zeros(n, np.int64)
    waiting: list[np.ndarray] = []
    begin = done = 0
    with progress(total=n, desc="packing", unit="cell", leave=True) as bar:
        while done < n:
            upto = max(done + 1, int(np.searchsorted(indptr, indptr[done] + BLOCK_VALUES, side="right")) - 1)
            part, values, indices = _read_block(X, indptr, done, upto, n_genes, screen_path)
            codes = np.empty(kernel.count_codes(part, indices, values), np.uint8)
            kernel.encode_rows(part, indices, values, codes, lengths[done:upto])
            for piece in (lengths[done:upto], codes):
                digest.update(piece)
            waiting.append(codes)
            bar.update(upto - done)
            done = upto
            # Conditions that are whole can go; the rows of the last one wait for the rest of it.
            whole = bounds[np.searchsorted(bounds[:, 1], done, side="right") - 1, 1] if done >= bounds[0, 1] else begin
            if whole > begin:
                gathered = np.concatenate(waiting)
                ends = np.cumsum(lengths[begin:done])
                starts = ends - lengths[begin:done]
                rows = order[begin:whole] - begin
                shuffled = np.empty(ends[whole - begin - 1], np.uint8)
                kernel.gather_rows(gathered, starts[rows], ends[rows], shuffled)
                out.append(shuffled)
                waiting, begin = [gathered[len(shuffled) :]], int(whole)
    out.close()
    return digest.hexdigest(), lengths[order], int(np.diff(indptr).max())


def _read_block(X, indptr, start: int, stop: int, n_genes: int, screen_path: Path):
    """Rows of X, checked: indptr from 0, counts [z] int64, genes [z]."""
    import scipy.sparse as sp

    from vc_data.screen.file import check_matrix

    inside = slice(int(indptr[start]), int(indptr[stop]))
    values, indices = np.asarray(X["data"][inside]), np.asarray(X["indices"][inside])
    part = indptr[start : stop + 1] - indptr[start]
    if len(indices) and (indices.min() < 0 or indices.max() >= n_genes):
        found = f"{indices.min()}..{indices.max()}"
        do = "Write the screen again with 'vc-data convert'."
        raise ContractError(screen_path, "X indices", f"genes in 0..{n_genes - 1}", found, do)
    check_matrix(sp.csr_matrix((values, indices, part), shape=(stop - start, n_genes)), screen_path)
    return part, values.astype(np.int64), indices.astype(np.int64)


def _write_array(root, name: str, values: np.ndarray) -> None:
    from zarr.codecs import Crc32cCodec, ZstdCodec

    codecs = [ZstdCodec(level=1), Crc32cCodec()]
    chunk = min(len(values), 1 << 20)
    array = root.create_array(name, shape=values.shape, dtype=values.dtype, chunks=(chunk,), compressors=codecs)
    array[:] = values


class _Codes:
    """The growing array of codes, written in whole shards, so that no shard is written twice."""

    def __init__(self, root):
        from zarr.codecs import Crc32cCodec, ZstdCodec

        codecs = [ZstdCodec(level=1), Crc32cCodec()]
        settings = {"chunks": (CHUNK,), "shards": (SHARD,), "compressors": codecs}
        self._array = root.create_array("codes", shape=(0,), dtype=np.uint8, **settings)
        self._waiting: list[np.ndarray] = []
        self._n = 0

    def append(self, codes: np.ndarray) -> None:
        self._waiting.append(codes)
        self._n += len(codes)
        if self._n >= SHARD:
            self._write(self._n // SHARD * SHARD)

    def close(self) -> None:
        if self._n:
            self._write(self._n)

    def _write(self, n: int) -> None:
        codes = np.concatenate(self._waiting)
        start = self._array.shape[0]
        self._array.resize((start + n,))
        self._array[start:] = codes[:n]
        self._waiting, self._n = [codes[n:]], len(codes) - n


def _replace(temporary: Path, path: Path) -> None:
    if path.exists():
        aside = path.with_name(f".{path.name}.old-{uuid.uuid4().hex[:12]}")
        path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
    temporary.rename(path)
