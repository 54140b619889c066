"""Hash of a file or folder, as docs/contracts/README.md defines it."""

import functools
import hashlib
import threading
from pathlib import Path

from vc_contracts.bucket.address import is_address

_LOCK = threading.Lock()  # who asks for a file that is being hashed waits for it


def sha256_tree(path: str | Path) -> str:
    r"""Hash of a file (its sha256) or of a folder.

    Of a folder: sha256 over the lines `<relative path>\0<sha256 of the file>\n`, sorted by path. A file whose time and
    size stay is hashed once in a process.
    """
    if is_address(path):
        from vc_contracts.bucket.remote import sha256_at

        return sha256_at(path)
    path = Path(path)
    if not path.is_dir():
        state = path.stat()
        with _LOCK:
            return _sha256_file(path, state.st_mtime_ns, state.st_size, state.st_ino)
    total = hashlib.sha256()
    for name in sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()):
        total.update(f"{name}\0{sha256_tree(path / name)}\n".encode())
    return total.hexdigest()


@functools.lru_cache(maxsize=1 << 16)
def _sha256_file(path: Path, _mtime_ns: int, _size: int, _inode: int) -> str:
    """Hash of a file, computed once while its time and size stay."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_beside(paths: list[Path]) -> None:
    """Begin to hash files on a thread of its own, in this order; `sha256_tree` has them then, or waits."""

    def work() -> None:
        for path in paths:
            if path.exists():
                sha256_tree(path)

    threading.Thread(target=work, daemon=True).start()
