"""Opening a file of a stranger: nothing but regular files, no reference that leaves it, nothing larger than memory."""

import contextlib
import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vc_contracts.bucket.address import is_address
from vc_contracts.errors import ContractError, Refusal, short
from vc_contracts.tables import StoredCsr, Tables
from vc_contracts.trouble import memory_is_short

MOST_SCANNED = 1 << 28
"""Bytes of an HDF5 file up to which its heaps are looked through."""
MOST_CHUNKS = 200_000
"""Files that one array may be declared to have; each is looked for."""
_DAMAGED = "The file is damaged, half-copied or of another format: make or copy it again."
_UNSAFE = "Copy what it points to into the file itself."


def check_files(path: str | Path) -> Path:
    """Refuse what is no regular file or folder of regular files: links that leave a folder, pipes, devices, sockets.

    Returns:
        The path; of an address in a bucket, that of a local copy.

    Raises:
        ContractError: Absent, or holds anything else.
    """
    if is_address(path):
        from vc_contracts.bucket.local import fetch

        return fetch(path)
    path = Path(path)
    if "\0" in str(path):
        raise ContractError(short(str(path)), "file", "a name of a file", "a NUL character", "Check the path.")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        found = "nothing there" if isinstance(error, FileNotFoundError) else f"{error.strerror}"
        raise ContractError(path, "file", "a file or folder", found, "Check the path.") from None
    if stat.S_ISREG(mode):
        return path
    if not stat.S_ISDIR(mode):
        raise ContractError(path, "file", "a regular file or a folder", "a pipe, device or socket", "Check the path.")
    for folder, names, files in os.walk(path):
        for name in (*names, *files):
            part = Path(folder, name)
            mode = part.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                what = "a symbolic link" if stat.S_ISLNK(mode) else "a pipe, device or socket"
                raise ContractError(path, str(part.relative_to(path)), "a regular file", what, _UNSAFE)
    return path


@contextlib.contextmanager
def open_store(path: str | Path, *, checked: bool = False) -> Iterator[Any]:
    """Open an AnnData file for reading, guarded; gives a zarr group or an h5py file.

    Args:
        path: A zarr folder or an HDF5 file.
        checked: It was opened before, so its files and links are not looked at again.

    Raises:
        ContractError: It cannot be opened, or holds references that leave it.
    """
    store = open_unclosed(path, checked=checked)
    with store if hasattr(store, "flush") else contextlib.nullcontext():
        yield store


def open_unclosed(path: str | Path, *, checked: bool = False) -> Any:
    """As `open_store`, for whoever keeps the file open as long as what was read from it lives."""
    if is_address(path):
        from vc_contracts.bucket.place import open_in_place

        group = open_in_place(path)
        if group is not None:
            return group
    path = check_files(path) if is_address(path) or not checked else Path(path)
    if path.is_dir():
        import zarr

        try:
            return zarr.open_group(path, mode="r")
        except MemoryError:
            raise
        except Exception as error:  # zarr raises nearly every type for a damaged folder
            raise _unreadable(path, error) from error
    import h5py

    if not checked and path.stat().st_size < MOST_SCANNED:
        check_heaps(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise _unreadable(path, error) from error
    if not checked:
        try:
            check_links(file, path)
        except BaseException:
            file.close()
            raise
    return file


def check_heaps(path: Path) -> None:
    """Refuse an HDF5 file whose heaps of strings do not add up: HDF5 itself never comes back from some of them.

    Raises:
        ContractError: An entry of a heap reaches over its end, or a gap has no size.
    """
    size_of_file = path.stat().st_size
    with path.open("rb") as file:
        for at in _places_of(file, b"GCOL"):
            file.seek(at + 4)
            version, size = file.read(4)[:1], file.read(8)
            end, entry = at + int.from_bytes(size, "little"), at + 16
            while version == b"\1" and entry + 16 <= min(end, size_of_file):
                file.seek(entry)
                head = file.read(16)
                size, gap = int.from_bytes(head[8:], "little"), head[:2] == b"\0\0"
                if (gap and size < 16) or entry + size > end:
                    raise ContractError(path, "file", "an HDF5 file whose heaps add up", "a damaged heap", _DAMAGED)
                entry += size if gap else 16 + (size + 7) // 8 * 8


def _places_of(file: BinaryIO, mark: bytes) -> list[int]:
    """Where a mark stands in a file, read in blocks so that memory does not grow with it."""
    found, start, rest = [], 0, b""
    while block := file.read(1 << 22):
        text = rest + block
        at = text.find(mark)
        while at >= 0:
            found.append(start - len(rest) + at)
            at = text.find(mark, at + len(mark))
        start += len(block)
        rest = text[-(len(mark) - 1) :]
    return found


def check_links(file: Any, path: str | Path) -> None:
    """Refuse HDF5 links and data sets that read other files, and links that lead in circles.

    Raises:
        ContractError: External or soft links, external storage, virtual data sets, or a group inside itself.
    """
    import h5py

    def refuse(name: str, found: str) -> None:
        raise ContractError(path, name or "/", "content of the file itself", found, _UNSAFE)

    seen: set[Any] = set()

    def walk(group: Any, name: str, depth: int) -> None:
        if depth > 32:
            refuse(name, "groups nested more than 32 deep")
        for key in group:
            place = f"{name}/{key}"
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                refuse(place, f"{'an external' if isinstance(link, h5py.ExternalLink) else 'a soft'} link")
            item = group.get(key)
            if isinstance(item, h5py.Group):
                if item.id.__hash__() in seen:
                    refuse(place, "a group that is linked twice")
                seen.add(item.id.__hash__())
                walk(item, place, depth + 1)
            elif isinstance(item, h5py.Dataset):
                if item.external:
                    refuse(place, "a data set stored in another file")
                if item.is_virtual:
                    refuse(place, "a virtual data set")

    try:
        walk(file, "", 0)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        if isinstance(error, Refusal):
            raise
        raise _unreadable(path, error) from error


def check_size(store: Any, path: str | Path, *, but: str = "", only: tuple[str, ...] = ()) -> int:
    """Refuse arrays whose declared size is more than this machine's memory, before any is allocated.

    Args:
        store: From `open_store`.
        path: Where it lies.
        but: A group that is read by slices, e.g. `X`.
        only: The groups that are read whole, where all others are read by slices; offsets of sparse matrices are read whole
            everywhere.

    Returns:
        Bytes declared.

    Raises:
        ContractError: More is declared than fits.
    """
    limit = memory_limit()
    total = 0
    try:
        arrays = list(_arrays(store))
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise _unreadable(path, error) from error
    for name, shape, itemsize in arrays:
        if but and name.startswith(f"{but}/") and name != f"{but}/indptr":
            continue
        if only and not name.startswith(only) and not name.endswith("/indptr"):
            continue
        total += int(np.prod([int(n) for n in shape], dtype=object)) * max(itemsize, 1)
        if total > limit:
            found = f"{total / 2**30:.1f} GiB declared up to {name!r}"
            do = "The file is damaged, or this machine is too small for it."
            raise ContractError(path, "file", f"at most {limit / 2**30:.1f} GiB, the memory there is", found, do)
    return total


def memory_limit() -> int:
    """Bytes that one read may declare: what is available, or the process's own limit."""
    limit = 1 << 62
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        limit = int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        if soft > 0:
            limit = min(limit, soft)
    return limit


def read_anndata(path: str | Path) -> Any:
    """Read an AnnData of a stranger into memory, guarded.

    Raises:
        ContractError: Absent, unreadable, larger than memory, or with references that leave the file.
    """
    import anndata

    path = Path(path)
    with open_store(path) as store:
        declared = check_size(store, path)
        is_zarr = hasattr(store, "members")
        source: Any = store if is_zarr else store.filename
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # repeated names are refused later, with the names in the text
            adata = anndata.read_zarr(source) if is_zarr else anndata.read_h5ad(source)
        check_sparse(adata, path)
        return adata
    except Refusal:
        raise
    except MemoryError as error:
        raise _too_much(path, declared, error) from error
    except Exception as error:  # anndata, zarr and h5py raise nearly every type for damaged files
        raise _unreadable(path, error) from error


def check_sparse(adata: Any, path: str | Path) -> None:
    """Refuse sparse matrices whose offsets or positions lead out of their arrays: compiled code would follow them.

    Raises:
        ContractError: Naming the first one.
    """
    held: dict[str, Any] = {"X": adata.X, "raw/X": adata.raw.X if adata.raw is not None else None}
    for name in ("layers", "obsm", "varm", "obsp", "varp"):
        held |= {f"{name}/{key}": value for key, value in getattr(adata, name).items()}
    for place, matrix in held.items():
        if not hasattr(matrix, "indptr"):
            continue
        indptr, indices = np.asarray(matrix.indptr), np.asarray(matrix.indices)
        n_major, n_minor = matrix.shape if matrix.format == "csr" else matrix.shape[::-1]
        rises = len(indptr) == n_major + 1 and indptr[0] == 0 and (np.diff(indptr) >= 0).all()
        if not rises or indptr[-1] != len(indices) or len(matrix.data) != len(indices):
            raise ContractError(path, f"{place}/indptr", f"{n_major + 1} offsets that rise from 0", "others", _DAMAGED)
        if len(indices) and (indices.min() < 0 or indices.max() >= n_minor):
            found = f"{indices.min()}..{indices.max()}"
            raise ContractError(path, f"{place}/indices", f"positions in 0..{n_minor - 1}", found, _DAMAGED)


@contextlib.contextmanager
def open_tables(path: str | Path, *, checked: bool = False) -> Iterator[Tables]:
    """Open an AnnData with its tables in memory and a CSR `X` still on disk (other layouts are read).

    Raises:
        ContractError: As `read_anndata`.
    """
    from anndata.io import read_elem

    path = Path(path)
    with open_store(path, checked=checked) as store:
        declared = check_size(store, path, but="X")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                keys = ("obs", "var", "uns", "layers", "obsm", "varm")
                parts: dict[str, Any] = {key: read_elem(store[key]) if key in store else {} for key in keys}
                matrix = _matrix(store["X"]) if "X" in store else None
        except Refusal:
            raise
        except MemoryError as error:
            raise _too_much(path, declared, error) from error
        except Exception as error:
            raise _unreadable(path, error) from error
        yield Tables(X=matrix, **parts)


def read_parquet(path: str | Path) -> Any:
    """A parquet table as a data frame, its text looked at: bytes that are no text fail later, wherever they are first used.

    Raises:
        ValueError: It cannot be read, whatever pyarrow raises then.
    """
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
        table.validate(full=True)
        return table.to_pandas()
    except MemoryError:
        raise
    except Exception as error:  # pyarrow and pandas raise nearly every type for a damaged table
        raise ValueError((str(error).splitlines() or [type(error).__name__])[0][:200]) from error


def text_at(store: Any, place: str) -> str:
    """A stored string, e.g. the header."""
    from anndata.io import read_elem

    return str(read_elem(store[place]))


def _matrix(item: Any) -> Any:
    kind = item.attrs.get("encoding-type")
    if kind == "csr_matrix":
        rows, columns = (int(size) for size in item.attrs["shape"])
        return StoredCsr(item["data"], item["indices"], np.asarray(item["indptr"][:]), (rows, columns))
    if kind == "csc_matrix":
        return StoredCsr(item["data"], item["indices"], np.asarray(item["indptr"][:]), (0, 0), format="csc")
    return item[:] if hasattr(item, "shape") else item


def _arrays(store: Any) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """Name, shape and bytes per value of every array of a store."""
    import h5py

    if isinstance(store, h5py.Group):
        found: list[tuple[str, tuple[int, ...], int]] = []

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                found.append((name, item.shape or (), item.dtype.itemsize))

        store.visititems(visit)
        yield from found
        return
    for name, item in store.members(max_depth=None):
        if hasattr(item, "shape"):
            n_chunks = int(np.prod([-(-size // chunk) for size, chunk in _grid(item)], dtype=object))
            if n_chunks > MOST_CHUNKS:
                raise ValueError(f"{name} is declared to have {n_chunks:,} chunks")
            yield name, item.shape, getattr(item.dtype, "itemsize", 8)


def _grid(array: Any) -> list[tuple[int, int]]:
    """Size and size of a stored piece along every axis of a zarr array."""
    pieces = array.shards or array.chunks
    return [(int(size), max(int(piece), 1)) for size, piece in zip(array.shape, pieces, strict=True)]


def _too_much(path: str | Path, declared: int, error: MemoryError) -> Exception:
    """A file that asks for far more memory than it declares is damaged; else the machine is too small for it."""
    if 4 * declared > memory_limit():
        return MemoryError(f"{path}: {declared / 2**30:.1f} GiB: {error}")
    return _unreadable(path, error)


def _unreadable(path: str | Path, error: Exception) -> Exception:
    if memory_is_short(error) and not isinstance(error, MemoryError):
        return MemoryError(f"{path}: {str(error)[:200]}")
    first = (str(error).splitlines() or [""])[0][:200]
    return ContractError(path, "file", "an AnnData that can be read", f"{type(error).__name__}: {first}", _DAMAGED)
