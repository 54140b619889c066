"""Objects of a bucket: listed, read, written, deleted, hashed.

A bucket knows no folders and cannot rename. A *folder* is every object whose key begins with `KEY/`; what makes it whole is
its head (`zarr.json`, `meta.json`, ...), which `local.upload` writes last and removes first.
"""

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vc_contracts.bucket.address import Address, parse
from vc_contracts.bucket.client import attempt, library, open_bucket
from vc_contracts.bucket.errors import AbsentError, BucketError

KIND = "vc-kind"
"""Of an object that this project wrote: what it is, or the folder of which it is the head (metadata of the object)."""
BLOCK = 1 << 20
_HASHED: dict[tuple[str, str], str] = {}


class Item(NamedTuple):
    """An object."""

    size: int
    tag: str
    """Changes with its content."""


def hashes_of(address: Address) -> Address:
    """Where the hashes of a folder's files are kept: beside it."""
    return address.beside(f".{address.name}.hashes.json")


def items_in(address: Address) -> dict[str, Item]:
    """Every object below a key, by its name relative to it; of a single object, the name is empty."""
    store, obstore = open_bucket(address), library()

    def collect() -> dict[str, Item]:
        return {
            item["path"][len(address.key) + 1 :]: _item(item)
            for batch in obstore.list(store, prefix=address.key, chunk_size=1000)
            for item in batch
        }

    found = attempt(address, collect)
    if not found:
        with contextlib.suppress(AbsentError):
            found[""] = _item(attempt(address, lambda: obstore.head(store, address.key)))
    return dict(sorted(found.items()))


def _item(meta: Mapping[str, Any]) -> Item:
    return Item(int(meta["size"]), str(meta["e_tag"]))


def needed(address: Address) -> dict[str, Item]:
    """As `items_in`, where something has to be.

    Raises:
        BucketError: Nothing is there.
    """
    found = items_in(address)
    if not found:
        raise BucketError(str(address), "bucket", "an object or folder", "nothing there", "Check the address.")
    return found


def exists(path: str | Path) -> bool:
    """Whether anything lies at an address."""
    return bool(items_in(parse(path)))


def read_bytes(address: Address) -> bytes:
    """The content of a small object.

    Raises:
        BucketError: It cannot be read.
    """
    store, obstore = open_bucket(address), library()
    return attempt(address, lambda: bytes(obstore.get(store, address.key).bytes()))


def read_blocks(address: Address) -> Iterator[bytes]:
    """The content of an object in pieces of some megabytes, each asked for by itself, so that a lost one is asked again."""
    store, obstore = open_bucket(address), library()
    size = needed(address)[""].size
    for start in range(0, size, 8 * BLOCK):
        stop = min(start + 8 * BLOCK, size)
        yield attempt(address, functools.partial(_range, obstore, store, address.key, start, stop))


def _range(obstore: Any, store: Any, key: str, start: int, stop: int) -> bytes:
    return bytes(obstore.get_range(store, key, start=start, end=stop))


def put(address: Address, content: Path | bytes, kind: str = "") -> str:
    """Write one object: there is all of it or nothing, as buckets do.

    Args:
        address: Where.
        content: A file, sent in parts, or bytes.
        kind: What it is, or of which folder it is the head.

    Returns:
        Its tag.
    """
    store, obstore = open_bucket(address), library()
    more: dict[str, Any] = {"attributes": {KIND: kind} if kind else None, "max_concurrency": 4}
    return str(attempt(address, lambda: obstore.put(store, address.key, content, **more)["e_tag"]))


def kind_at(address: Address) -> str | None:
    """What this project wrote at an object, or None."""
    store, obstore = open_bucket(address), library()
    attributes = attempt(address, lambda: dict(obstore.get(store, address.key).attributes))
    return next((str(value) for name, value in attributes.items() if str(name) == KIND), None)


def delete(address: Address, names: Iterable[str]) -> None:
    """Delete objects of a folder (or, with an empty name, the object itself)."""
    store, obstore = open_bucket(address), library()
    keys = [f"{address.key}/{name}" if name else address.key for name in names]
    for start in range(0, len(keys), 500):
        attempt(address, functools.partial(obstore.delete, store, keys[start : start + 500]))


def sha256_at(path: str | Path) -> str:
    """The hash of a file or folder in a bucket, as `vc_contracts.sha256_tree` defines it.

    Hashes that were kept when it was written are taken where size and tag of the object are still the same; other objects
    are read.
    """
    address = parse(path)
    items = needed(address)
    state = hashlib.sha256(json.dumps(items).encode()).hexdigest()
    if (str(address), state) not in _HASHED:
        hashes = kept_hashes(address, items)
        for name in items.keys() - hashes.keys():
            total = hashlib.sha256()
            for block in read_blocks(address.child(name) if name else address):
                total.update(block)
            hashes[name] = total.hexdigest()
        _HASHED[str(address), state] = tree_hash(hashes)
    return _HASHED[str(address), state]


def tree_hash(hashes: Mapping[str, str]) -> str:
    """Hash of a folder, from those of its files; of a single file, its own."""
    if list(hashes) == [""]:
        return hashes[""]
    total = hashlib.sha256()
    for name in sorted(hashes):
        total.update(f"{name}\0{hashes[name]}\n".encode())
    return total.hexdigest()


def kept_hashes(address: Address, items: Mapping[str, Item]) -> dict[str, str]:
    """Name -> sha256 of the objects that did not change since they were written by `local.upload`."""
    try:
        kept = json.loads(read_bytes(hashes_of(address)))
    except (BucketError, ValueError):
        return {}
    files = kept.get("files", {}) if isinstance(kept, dict) else {}
    return {
        name: str(files[name][2])
        for name, item in items.items()
        if isinstance(files.get(name), list) and len(files[name]) == 3 and files[name][:2] == [item.size, item.tag]
    }
