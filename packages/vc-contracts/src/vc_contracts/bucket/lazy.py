"""A local copy of a folder in a bucket of which a file is fetched when it is first asked for, whole and once."""

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from vc_contracts.bucket import remote
from vc_contracts.bucket.address import cache_folder, parse
from vc_contracts.bucket.client import open_bucket
from vc_contracts.bucket.local import AT_ONCE, fetch_one
from vc_contracts.progress import progress
from vc_contracts.whole import lock_output

SPARE = 1 << 30
"""Bytes of the disk that stay free."""


class LazyCopy:
    """Files of a folder, here when they are needed; processes of one machine share them.

    Args:
        path: Address of the folder.

    Attributes:
        folder: Where the files lie; another content at the address has another folder.

    Raises:
        BucketError: Nothing is there.
    """

    def __init__(self, path: str | Path) -> None:
        self._address = parse(path)
        self.items = remote.needed(self._address)
        state = hashlib.sha256(json.dumps(self.items).encode()).hexdigest()[:16]
        self.folder = cache_folder() / "lazy" / self._address.scheme / self._address.bucket / self._address.key / state
        self._store = open_bucket(self._address)
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="vc-bucket")
        self._lock = threading.Lock()
        self._coming: dict[str, Future[None]] = {}
        self._here: set[str] = set()

    def fits(self) -> bool:
        """Whether all of it fits on the disk; copies of other content that lay at the address are removed first."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for other in self.folder.parent.iterdir():
            if other != self.folder and len(other.name) == len(self.folder.name):
                shutil.rmtree(other, ignore_errors=True)
        missing = sum(item.size for name, item in self.items.items() if not self.has(name))
        return shutil.disk_usage(self.folder).free > missing + SPARE

    def has(self, name: str) -> bool:
        """Whether a file is here (or nowhere)."""
        if name in self._here or name not in self.items:
            return True
        file = self.folder / name
        if file.is_file() and file.stat().st_size == self.items[name].size:
            self._here.add(name)
            return True
        return False

    def fetch(self, names: Iterable[str]) -> list[Future[None]]:
        """Begin to fetch files that are not here; each is fetched once, whoever asks."""
        with self._lock:
            wanted = [name for name in names if not self.has(name)]
            for name in wanted:
                if name not in self._coming:
                    self._coming[name] = self._pool.submit(self._fetch, name)
            return [self._coming[name] for name in wanted]

    def after[Made](self, names: Iterable[str], read: Callable[[], Made]) -> "Late[Made]":
        """What `read` gives once the files are here; they are on their way from now on."""
        return Late(self.fetch(names), read)

    def _fetch(self, name: str) -> None:
        to = self.folder / name
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            with lock_output(to, wait=True):
                if not self.has(name):
                    with progress(total=0, desc=name, shown=False) as bar:
                        fetch_one(self._store, self._address, name, self.items[name], to, bar)
                    self._here.add(name)
        finally:
            with self._lock:
                del self._coming[name]


class Late[Made]:
    """A result that waits for files."""

    def __init__(self, coming: list[Future[None]], read: Callable[[], Made]) -> None:
        self._coming, self._read = coming, read

    def result(self) -> Made:
        """Wait for the files, then read.

        Raises:
            BucketError: A file cannot be fetched.
        """
        for future in self._coming:
            future.result()
        return self._read()
