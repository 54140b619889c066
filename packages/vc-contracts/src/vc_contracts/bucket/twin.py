"""Unfinished work of an output that goes to a bucket: it lies beside the output there, too, so that another machine goes on.

A save is a folder `saves/STEP`. It is sent file by file, and `saves/STEP.whole.json`, with the hash of each, goes last: a save
without it was cut off and is left alone. When the output itself has been written, its unfinished work is removed.
"""

import json
import shutil
from collections.abc import Collection
from pathlib import Path

from vc_contracts.bucket import names, remote
from vc_contracts.bucket.address import Address, parse
from vc_contracts.bucket.errors import BucketError
from vc_contracts.hashing import sha256_tree
from vc_contracts.progress import say

WHOLE = ".whole.json"
_KNOWN: dict[Path, Address] = {}
"""Folders of unfinished work of this process, and where they lie in a bucket."""


class Twin:
    """The copy in a bucket of one folder of saves.

    Args:
        folder: Holds a folder per save, named by its number.
        beside: Files beside that folder that go with a save.
    """

    def __init__(self, folder: Path, beside: Collection[str] = ()) -> None:
        address = names.address_of(str(folder))
        self._folder, self._beside = folder, beside
        self._address = None if address is None else parse(address)
        if self._address is not None:
            _KNOWN[folder] = self._address

    def pull(self) -> None:
        """Fetch the newest whole save, where it is newer than those here.

        Raises:
            BucketError: It cannot be read.
        """
        if self._address is None:
            return
        items = remote.items_in(self._address)
        whole = sorted((int(name.removesuffix(WHOLE)) for name in items if _is_mark(name)), reverse=True)
        here = [int(path.name) for path in self._folder.glob("*") if path.name.isdecimal()]
        for step in whole:
            if here and max(here) >= step:
                return
            if self._fetch(step, items):
                say(f"goes on from step {step:,}, saved in {self._address}")
                return

    def _fetch(self, step: int, items: dict[str, remote.Item]) -> bool:
        assert self._address is not None
        listed = json.loads(remote.read_bytes(self._address.child(f"{step}{WHOLE}")))
        files: dict[str, str] = listed["files"]
        if not all(f"{step}/{name}" in items for name in files):
            return False
        begun = self._folder / f".{step}.begun"
        shutil.rmtree(begun, ignore_errors=True)
        for name, expected in files.items():
            to = begun / name
            to.parent.mkdir(parents=True, exist_ok=True)
            with to.open("wb") as file:
                for block in remote.read_blocks(self._address.child(f"{step}/{name}")):
                    file.write(block)
            if sha256_tree(to) != expected:
                do = "Delete that save there to go on from the one before."
                raise BucketError(str(self._address.child(str(step))), name, "the content that was saved", "other", do)
        for name, text in listed["beside"].items():
            (self._folder.parent / name).write_text(text)
        shutil.rmtree(self._folder / str(step), ignore_errors=True)
        begun.rename(self._folder / str(step))
        return True

    def push(self, step: int) -> None:
        """Send a save that is whole here, and remove older ones that are gone here.

        Raises:
            BucketError: It cannot be written.
        """
        if self._address is None:
            return
        save = self._folder / str(step)
        files = {file.relative_to(save).as_posix(): file for file in sorted(save.rglob("*")) if file.is_file()}
        for name, file in files.items():
            remote.put(self._address.child(f"{step}/{name}"), file)
        beside = {
            name: (self._folder.parent / name).read_text()
            for name in self._beside
            if (self._folder.parent / name).exists()
        }
        note = {"files": {name: sha256_tree(file) for name, file in files.items()}, "beside": beside}
        remote.put(self._address.child(f"{step}{WHOLE}"), json.dumps(note).encode())
        gone = [
            name
            for name in remote.items_in(self._address)
            if not (self._folder / name.partition("/")[0].removesuffix(WHOLE)).exists()
        ]
        remote.delete(self._address, sorted(gone, key=lambda name: not _is_mark(name)))


def clear_finished(below: Path) -> None:
    """Remove from the bucket what was unfinished work of an output and is gone here: the output is written.

    Args:
        below: Folder of the output.
    """
    for folder, address in list(_KNOWN.items()):
        if folder.is_relative_to(below) and not folder.exists():
            remote.delete(address, remote.items_in(address))
            del _KNOWN[folder]


def _is_mark(name: str) -> bool:
    return name.endswith(WHOLE) and name.removesuffix(WHOLE).isdecimal()
