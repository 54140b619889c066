"""Local copies: what is fetched from a bucket, and what is made here and then written there whole.

A fetched copy stays in the cache folder (`VC_BUCKET_CACHE`), and only objects that changed are fetched again; a fetch that
was cut off goes on where it stopped. An upload writes a folder's head last: without it, readers take a folder for nothing.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vc_contracts.bucket import names, remote
from vc_contracts.bucket.address import Address, cache_folder, parse
from vc_contracts.bucket.client import FIRST_WAIT, LONGEST_WAIT, TRIES, library, open_bucket
from vc_contracts.bucket.errors import BucketError, is_of_client, plainly
from vc_contracts.bucket.twin import clear_finished
from vc_contracts.hashing import sha256_tree
from vc_contracts.kinds import HEADS, header_of, kind_of
from vc_contracts.progress import progress
from vc_contracts.whole import lock_output, remove

AT_ONCE = 8
"""Objects that travel at the same time."""


def fetch(path: str | Path) -> Path:
    """A whole local copy of what lies at an address.

    Raises:
        BucketError: It cannot be read, or changed meanwhile.
    """
    address = parse(path)
    items = remote.needed(address)
    local = cache_folder() / address.scheme / address.bucket / address.key
    names.remember(str(local), str(address))
    local.parent.mkdir(parents=True, exist_ok=True)
    note = local.with_name(f".{local.name}.have.json")
    with lock_output(local, wait=True):
        have = _have(note)
        alone = list(items) == [""]
        if local.is_dir() == alone and local.exists():
            remove(local)
        if not alone:
            for file in [file for file in local.rglob("*") if file.is_file()]:
                name = file.relative_to(local).as_posix()
                if name not in items and not file.name.endswith(".part"):
                    file.unlink()
        wanted = {
            name: item
            for name, item in items.items()
            if have.get(name) != [item.size, item.tag] or not _is_there(local / name, item)
        }
        store = open_bucket(address)
        size = sum(item.size for item in wanted.values())
        with (
            ThreadPoolExecutor(AT_ONCE) as pool,
            progress(total=size, desc=f"fetching {address.name}", unit="B", unit_scale=True) as bar,
        ):
            jobs = {
                pool.submit(fetch_one, store, address, name, item, local / name, bar): name
                for name, item in wanted.items()
            }
            try:
                for job, name in jobs.items():
                    job.result()
                    have[name] = list(items[name])
            finally:
                for job in jobs:
                    job.cancel()
                note.write_text(json.dumps(have))
    return local


def _have(note: Path) -> dict[str, list]:
    try:
        content = json.loads(note.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_there(file: Path, item: remote.Item) -> bool:
    return file.is_file() and file.stat().st_size == item.size


def fetch_one(store, address: Address, name: str, item: remote.Item, to: Path, bar) -> None:
    """One object, from where an earlier try of the same content stopped."""
    to.parent.mkdir(parents=True, exist_ok=True)
    mark = hashlib.sha256(item.tag.encode()).hexdigest()[:12]
    part = to.with_name(f".{to.name}.{mark}.part")
    key = f"{address.key}/{name}" if name else address.key
    wait = FIRST_WAIT
    for left in range(TRIES, -1, -1):
        done = part.stat().st_size if part.exists() else 0
        if done >= item.size:
            break
        try:
            options = {"if_match": item.tag, "range": {"offset": done}} if done else {"if_match": item.tag}
            with part.open("ab") as file:
                for block in library().get(store, key, options=options).stream(min_chunk_size=remote.BLOCK):
                    file.write(block)
                    bar.update(len(block))
        except Exception as error:
            if type(error).__name__ == "PreconditionError":
                part.unlink(missing_ok=True)
                do = "Type the same command again, once nobody writes there."
                raise BucketError(str(address), "bucket", "content that stays", "another by now", do) from None
            moved = part.exists() and part.stat().st_size > done
            if not is_of_client(error) or not (left or moved):
                with plainly(address.child(name) if name else address):
                    raise
            time.sleep(wait)
            wait = FIRST_WAIT if moved else min(2 * wait, LONGEST_WAIT)
    if not item.size:
        part.touch()
    if part.stat().st_size != item.size:
        part.unlink()
        do = "Type the same command again."
        raise BucketError(str(address), name or "object", f"{item.size} bytes", "another number", do)
    part.replace(to)


def check_free(address: Address, *, overwrite: bool, kind: str | None = None) -> dict[str, remote.Item]:
    """The rule of every output, in a bucket: what stands there is replaced on request only, and only by its kind.

    Args:
        address: The output.
        overwrite: Replace what this project wrote there.
        kind: What is going to be written, where it is known.

    Returns:
        What is there.

    Raises:
        BucketError: It may not be written.
    """
    items = remote.items_in(address)
    if not items:
        return items
    if not overwrite:
        do = "Pass --overwrite or another name."
        raise BucketError(str(address), "output", "a free name", "something there already", do)
    head = "" if "" in items else next((head for head in HEADS if head in items), None)
    found = None if head is None else remote.kind_at(address.child(head) if head else address)
    unfinished = head is None and bool(remote.kept_hashes(address, items))
    if not unfinished and (found is None or (kind is not None and found != kind)):
        expected = f"an earlier {kind or 'output of this project'} to replace"
        do = "Delete it yourself or choose another name; only an output of the same kind is ever replaced."
        raise BucketError(str(address), "output", expected, found or "something else", do)
    return items


def kind_of_local(local: Path) -> str:
    """What a whole local output is, for `check_free`."""
    if local.is_dir():
        return kind_of(local, "folder") or "folder"
    return str(header_of(local).get("name") or f"file{local.suffix}")


def upload(local: Path, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a file or folder to an address, whole or not at all.

    Of a folder the head goes last, and first where an older one is replaced; readers take a folder without it for nothing.
    Objects of an upload that was cut off and did not change are not sent again.

    Raises:
        BucketError: It may not or cannot be written.
    """
    address = parse(path)
    kind = kind_of_local(local)
    there = check_free(address, overwrite=overwrite or _is_ours_unfinished(address), kind=kind)
    if local.is_file():
        remote.delete(address, [name for name in there if name])
        remote.put(address, local, kind)
        return
    files = {file.relative_to(local).as_posix(): file for file in sorted(local.rglob("*")) if file.is_file()}
    head = next((name for name in HEADS if name in files), None)
    if head is None:
        raise BucketError(str(address), "output", f"a folder with one of {', '.join(HEADS)}", "none", "Pass another.")
    remote.delete(address, [name for name in HEADS if name in there])
    hashes = {name: sha256_tree(file) for name, file in files.items()}
    kept = remote.kept_hashes(address, there)
    sent = {name: list(there[name]) for name in files if name != head and kept.get(name) == hashes[name]}
    remote.delete(address, [name for name in there if name not in files])
    with progress(
        total=sum(f.stat().st_size for f in files.values()), desc="uploading", unit="B", unit_scale=True
    ) as bar:
        _send(address, {name: files[name] for name in files if name not in sent and name != head}, sent, hashes, bar)
        sent[head] = [files[head].stat().st_size, remote.put(address.child(head), files[head], kind)]
        bar.update(files[head].stat().st_size)
    _keep(address, sent, hashes)


def _is_ours_unfinished(address: Address) -> bool:
    """Whether an upload to there was cut off: hashes are kept, and no head."""
    items = remote.items_in(address)
    return bool(items) and not any(name in items for name in (*HEADS, "")) and bool(remote.kept_hashes(address, items))


def _send(address: Address, files: Mapping[str, Path], sent: dict[str, list], hashes: Mapping[str, str], bar) -> None:
    """Send files at the same time; what was sent before a failure is noted, so that it need not be sent again."""

    def one(name: str) -> None:
        size = files[name].stat().st_size
        sent[name] = [size, remote.put(address.child(name), files[name])]
        bar.update(size)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [pool.submit(one, name) for name in files]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            for job in jobs:
                job.cancel()
            pool.shutdown(wait=True)
            with contextlib.suppress(BucketError):
                _keep(address, sent, hashes)
            raise


def _keep(address: Address, sent: Mapping[str, list], hashes: Mapping[str, str]) -> None:
    files = {name: [*sent[name], hashes[name]] for name in sorted(sent)}
    remote.put(remote.hashes_of(address), json.dumps({"files": files}).encode())


def work_place(path: str | Path) -> Path:
    """Where an output is made here before it is uploaded; its name is kept, and names beside it are beside it there."""
    address = parse(path)
    folder = cache_folder() / "out" / hashlib.sha256(str(address).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    names.remember(str(folder), str(address).rpartition("/")[0])
    return folder / address.name


@contextlib.contextmanager
def delivered(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a local place for an output; what stands there at the end of the block is uploaded, then removed here.

    Raises:
        BucketError: It may not or cannot be written; what was made is kept, and the message says where.
    """
    address = parse(path)
    check_free(address, overwrite=overwrite or _is_ours_unfinished(address))
    local = work_place(path)
    yield local
    if not local.exists():
        return
    try:
        upload(local, path, overwrite=overwrite)
    except BucketError as error:
        names.forget(str(local.parent))
        where, field, expected, found, do = error.parts
        do = f"{do} What was made is kept: vc-contracts copy {local} {address} sends it without making it again."
        raise BucketError(where, field, expected, found, do) from None
    remove(local)
    clear_finished(local.parent)
    with contextlib.suppress(OSError):
        local.parent.rmdir()
