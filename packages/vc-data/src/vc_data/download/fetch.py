"""Fetch the files of a registered data set: whole and checked, or not at all.

Beside NAME, `NAME.download.json` records where it came from and its checksum; where the host states no checksum, that
of the first download is enforced from then. An unfinished file lives in the folder `NAME.part` and is resumed.
"""

import contextlib
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from vc_data.datasets.registry import Dataset, RemoteFile
from vc_data.download.transfer import DownloadSettings, RefusedError, Transfer, check_start, no_room, write_json
from vc_data.errors import OutputError, VcDataError, few


class DownloadError(VcDataError):
    """A file that no address serves, or that is not what the registry says; try later or place it by hand."""


@dataclass(frozen=True)
class Downloaded:
    """One file that lies whole on disk."""

    path: Path
    checksum: str
    checked_against: str
    """'registry', or 'first download' where the host states no checksum."""
    fetched: bool
    """False where it was there already."""


def download(
    dataset: Dataset, folder: str | Path, *, files: Sequence[str] = (), settings: DownloadSettings | None = None
) -> list[Downloaded]:
    """Fetch a data set into a folder; what is there already is checked and kept.

    Args:
        dataset: A row of the registry.
        folder: Where the files go; made where absent.
        files: Names to fetch instead of the default ones; 'all' for all.
        settings: How patient the download is.

    Raises:
        DownloadError: A file cannot be had from any address, or a file on disk is not the one that is registered.
        OutputError: The disk is too small; nothing was fetched.
    """
    chosen = _choose(dataset, files)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _check_room(folder, chosen)
    return [fetch(file, folder, settings=settings, access=dataset.access) for file in chosen]


def fetch(file: RemoteFile, folder: Path, *, settings: DownloadSettings | None = None, access: str = "") -> Downloaded:
    """Fetch one file; see `download`."""
    settings = settings or DownloadSettings()
    target, part = folder / file.name, folder / f"{file.name}.part"
    record = folder / f"{file.name}.download.json"
    recorded = _read_record(record)
    if target.exists():
        return _check_present(file, target, record, recorded)
    checksum = file.checksum or recorded.get("checksum")
    reasons = []
    with _locked(part):
        if target.exists():
            return _check_present(file, target, record, _read_record(record))
        _gather(part, file.name)
        for url in file.urls:
            try:
                got = _fetch_from(url, file, part, checksum, settings)
            except RefusedError as error:
                reasons.append(f"{url}: {error}")
                continue
            done = _record(record, file, got, url=url, checksum=checksum)
            got.replace(target)
            return Downloaded(target, done["checksum"], done["checked_against"], fetched=True)
    again = "What has arrived is kept: the same command resumes. " if part.exists() else ""
    by_hand = access or f"Fetch it in a browser, place it as {target}, and run the same command to check it."
    do = f"{again}Try later, or by hand: {by_hand}"
    raise DownloadError(target, "download", "the file from one of its addresses", "; ".join(reasons), do)


def _fetch_from(url: str, file: RemoteFile, part: Path, checksum: str | None, settings: DownloadSettings) -> Path:
    """The whole, checked file, still inside `part`; raises RefusedError where this address does not give it."""
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    transfer = Transfer(part, file.name, file.n_bytes, checksum is not None, settings)
    store = pooch.create(path=part, base_url="", registry={file.name: checksum}, urls={file.name: url})
    for last in (False, True):
        try:
            return Path(store.fetch(file.name, downloader=cast("pooch.core.Downloader", transfer)))
        except (VcDataError, OutputError):
            raise
        except ValueError as error:
            # Pooch has found another checksum and has removed the file. Joined pieces may be to blame, so the same
            # address gets one whole, fresh transfer.
            if last or not transfer.resumed:
                raise RefusedError(f"wrong bytes: the file is whole, but its checksum is not {checksum}") from error
            logging.getLogger(__name__).warning("%s: joined pieces have a wrong checksum; starting over", file.name)
    raise AssertionError("the second round returns or raises")


def _choose(dataset: Dataset, names: Sequence[str]) -> list[RemoteFile]:
    """The files that are meant."""
    if not dataset.files:
        do = f"Get it by hand: {dataset.access}"
        raise DownloadError(dataset.key, "files", "a file at a fixed address", "none", do)
    known = {file.name: file for file in dataset.files}
    for name in names:
        if name != "all" and name not in known:
            do = f"Its files: {', '.join(known)}."
            raise DownloadError(dataset.key, "--files", "a file of this data set, or 'all'", repr(name), do)
    if "all" in names:
        return list(dataset.files)
    return [known[name] for name in dict.fromkeys(names)] or [file for file in dataset.files if not file.optional]


def _check_room(folder: Path, files: Sequence[RemoteFile]) -> None:
    """Refuse before the first byte where the disk cannot hold what is still to come."""
    need = 0
    for file in files:
        if not (folder / file.name).exists():
            part = folder / f"{file.name}.part" / "bytes"
            need += max(0, file.size - (part.stat().st_size if part.exists() else 0))
    free = shutil.disk_usage(folder).free
    if need > free:
        raise no_room(folder, need, free)


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Own the folder of an unfinished file; the lock dies with its process, the folder stays while it holds bytes."""
    part.mkdir(exist_ok=True)
    handle = os.open(part, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            do = "Wait for it, or stop it."
            raise DownloadError(part, "lock", "no other download of this file", "one that is running", do) from None
        except OSError:
            # Some network file systems know no locks; nothing else depends on them.
            logging.getLogger(__name__).info("%s: this file system has no locks", part)
        try:
            yield
        finally:
            if part.exists() and not any(path.name != "source.json" for path in part.iterdir()):
                shutil.rmtree(part)
    finally:
        os.close(handle)


def _gather(part: Path, name: str) -> None:
    """Put a killed run's leavings in order: pooch may have held the whole file under a temporary name."""
    for path in part.iterdir():
        if path.name in ("bytes", "source.json", name):
            continue
        if path.name.startswith("tmp") and path.stat().st_size and not (part / "bytes").exists():
            path.replace(part / "bytes")
        else:
            path.unlink()


def _check_present(file: RemoteFile, target: Path, record: Path, recorded: dict) -> Downloaded:
    """A file that is there, by download or by hand, must be the registered one."""
    import pooch

    n_bytes = target.stat().st_size
    checksum = file.checksum or recorded.get("checksum")
    do = f"Move {target} away and run the same command to fetch it."
    if file.n_bytes is not None and n_bytes != file.n_bytes:
        raise DownloadError(target, "size", f"{file.n_bytes:,} bytes", f"{n_bytes:,}", do)
    try:
        with target.open("rb") as handle:
            check_start(file.name, handle.read(16))
    except RefusedError as error:
        raise DownloadError(target, "content", "the file itself", error, do) from error
    if checksum is not None:
        algorithm, _, digest = checksum.partition(":")
        found = pooch.file_hash(str(target), alg=algorithm)
        if found != digest:
            raise DownloadError(target, "checksum", checksum, f"{algorithm}:{found}", do)
    known = recorded.get("checksum") == checksum is not None
    done = recorded if known else _record(record, file, target, url="placed by hand", checksum=checksum)
    return Downloaded(target, done["checksum"], done["checked_against"], fetched=False)


def _record(record: Path, file: RemoteFile, path: Path, *, url: str, checksum: str | None) -> dict:
    """Write down what the file is, before it gets its name."""
    import pooch

    checksum = checksum or f"sha256:{pooch.file_hash(str(path), alg='sha256')}"
    done = {
        "name": file.name,
        "url": url,
        "n_bytes": path.stat().st_size,
        "checksum": checksum,
        "checked_against": "registry" if file.checksum else "first download",
    }
    write_json(record, done)
    return done


def _read_record(record: Path) -> dict:
    """What an earlier download recorded; empty where there was none."""
    if not record.exists():
        return {}
    try:
        found = json.loads(record.read_text())
        return {key: str(found[key]) for key in ("checksum", "checked_against")}
    except (ValueError, KeyError, TypeError) as error:
        do = "Delete it to trust the next download anew."
        raise DownloadError(record, "record", "JSON with a checksum", few([error]), do) from error
