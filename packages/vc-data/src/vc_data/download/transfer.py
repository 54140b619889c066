"""One file over HTTP, as a downloader for pooch: resumes by Range, retries what may pass, refuses what is no file.

While it runs, `FOLDER/` (NAME.part) holds `bytes` (what has arrived) and `source.json` (where from, which version).
Both survive any kind of death, because every block goes to the operating system at once.
"""

import json
import logging
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vc_data.errors import OutputError

LOG = logging.getLogger(__name__)
BLOCK_BYTES = 1 << 16
LONGEST_PAUSE_S = 60.0
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
MAGIC = {
    ".h5ad": b"\x89HDF\r\n\x1a\n",
    ".h5mu": b"\x89HDF\r\n\x1a\n",
    ".gz": b"\x1f\x8b",
    ".zip": b"PK",
    ".parquet": b"PAR1",
}
"""First bytes of file kinds: a page or a message served in their place is noticed even where no checksum is known."""


@dataclass(frozen=True, kw_only=True)
class DownloadSettings:
    """How patient a download is."""

    timeout_s: float = 60.0
    """Seconds without a byte before a connection counts as stalled."""
    retries: int = 5
    """Failures in a row, without a new byte, before the next address is tried."""
    backoff_s: float = 1.0
    """Seconds before the first retry; doubles each time, up to a minute."""
    progress: bool = True
    """Show a progress bar on a terminal."""


class RefusedError(Exception):
    """This address does not serve the file; another may."""


class TransientError(Exception):
    """A failure that may pass; carries the seconds the server asked to wait."""

    def __init__(self, message: str, pause_s: float = 0.0):
        super().__init__(message)
        self.pause_s = pause_s


class Transfer:
    """A pooch downloader: called with an address and a file name, it leaves the whole file under that name.

    Args:
        folder: NAME.part, which holds what has arrived.
        name: File name, for messages and for the kind of file.
        n_bytes: Exact size, where known.
        checked: Whether a checksum is known, so that bytes of two addresses may be joined.
        settings: How patient it is.
    """

    def __init__(self, folder: Path, name: str, n_bytes: int | None, checked: bool, settings: DownloadSettings):
        self.folder, self.name, self.n_bytes, self.checked, self.settings = folder, name, n_bytes, checked, settings
        self.bytes_path = folder / "bytes"
        self.resumed = False
        """Whether bytes of an earlier run are part of the result."""

    def __call__(self, url: str, output_file: str | os.PathLike, pooch: Any = None) -> None:
        """Fetch `url` into `output_file`.

        Raises:
            RefusedError: The address does not serve the file, or failed too often.
            OutputError: The disk is too small.
        """
        import requests

        failures, most = 0, self.n_arrived()
        while True:
            try:
                self._receive(url)
                break
            except (TransientError, requests.RequestException) as error:
                arrived = self.n_arrived()
                failures = 1 if arrived > most else failures + 1
                most = max(most, arrived)
                if failures > self.settings.retries:
                    raise RefusedError(f"failed {failures} times in a row, last: {error}") from error
                pause_s = max(self.settings.backoff_s * 2 ** (failures - 1), getattr(error, "pause_s", 0.0))
                LOG.warning("%s: %s; trying again (%d bytes are kept)", self.name, error, arrived)
                time.sleep(min(pause_s, LONGEST_PAUSE_S))
        self.bytes_path.replace(output_file)

    def n_arrived(self) -> int:
        """Bytes on disk."""
        return self.bytes_path.stat().st_size if self.bytes_path.exists() else 0

    def forget(self) -> None:
        """Drop what has arrived."""
        self.bytes_path.unlink(missing_ok=True)
        self.resumed = False

    def _receive(self, url: str) -> None:
        """One request: append what arrives to `bytes`; returns when the file is whole."""
        import requests
        from vc_contracts.progress import progress

        start, ask = self._resume(url)
        if start and not ask:
            self.resumed = True
            return
        headers = {"Accept-Encoding": "identity", "User-Agent": "vc-data"} | ask
        timeout = (self.settings.timeout_s, self.settings.timeout_s)
        with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
            start, total = self._check_answer(response, start)
            blocks = response.iter_content(BLOCK_BYTES)
            first = next(blocks, b"")
            if start == 0:
                check_start(self.name, first)
                self._note(url, response, total)
            self.resumed = start > 0
            mode = "ab" if start else "wb"
            with (
                self.bytes_path.open(mode, buffering=0) as out,
                progress(
                    total=total, initial=start, unit="B", unit_scale=True, desc=self.name, leave=True,
                    shown=self.settings.progress,
                ) as bar,
            ):  # fmt: skip
                block = first
                while block:
                    out.write(block)
                    bar.update(len(block))
                    block = next(blocks, b"")
        arrived = self.n_arrived()
        if total is not None and arrived < total:
            raise TransientError(f"the connection ended after {arrived:,} of {total:,} bytes")
        if total is not None and arrived > total:
            self.forget()
            raise RefusedError(f"sent {arrived:,} bytes, expected {total:,}")

    def _resume(self, url: str) -> tuple[int, dict[str, str]]:
        """Where to go on, and the headers that ask for the rest of the very same version; none where it is whole."""
        start = self.n_arrived()
        note = self._read_note()
        same_address = note.get("url") == url
        joinable = same_address or (self.checked and self.n_bytes is not None)
        if not start or not joinable or (self.n_bytes is not None and start > self.n_bytes):
            return 0, {}
        if start == (self.n_bytes or note.get("total")):
            return start, {}
        headers = {"Range": f"bytes={start}-"}
        if same_address and note.get("version"):
            headers["If-Range"] = note["version"]
        return start, headers

    def _check_answer(self, response, start: int) -> tuple[int, int | None]:
        """Where the body starts and how long the whole file is; raises unless the body is (the rest of) the file."""
        status = response.status_code
        if status in RETRIED:
            raise TransientError(f"HTTP {status}", _retry_after(response))
        if status == 416:
            self.forget()
            raise TransientError("the bytes at hand are not part of this file; starting over")
        if status not in (200, 206):
            hint = {202: ": host challenge", 400: ": billing or login may be needed", 403: ": login may be needed"}
            raise RefusedError(f"HTTP {status}{hint.get(status, '')}")
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind in ("text/html", "application/xhtml+xml"):
            raise RefusedError(f"host challenge or error page ({kind})")
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding != "identity":
            raise RefusedError(f"the body is encoded ({encoding}), although plain bytes were asked for")
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        if status == 206:
            total = self._check_range(response, start)
        else:
            start = 0
        if total is not None and self.n_bytes is not None and total != self.n_bytes:
            raise RefusedError(f"serves {total:,} bytes, expected {self.n_bytes:,}")
        total = total if total is not None else self.n_bytes
        if total is None and not self.checked:
            raise RefusedError("states no size, and no checksum is known: a cut-off file could not be told")
        need, free = (total or 0) - start, shutil.disk_usage(self.folder).free
        if need > free:
            raise no_room(self.folder, need, free)
        return start, total

    def _check_range(self, response, start: int) -> int | None:
        """Size of the whole file by `Content-Range: bytes START-END/TOTAL`; starts over where it is not the rest."""
        text = response.headers.get("Content-Range", "")
        span, _, digits = text.removeprefix("bytes ").partition("/")
        total = int(digits) if digits.isdigit() else None
        noted = self.n_bytes or self._read_note().get("total")
        if span.partition("-")[0] != str(start) or (total and noted and self.n_bytes is None and total != noted):
            self.forget()
            raise TransientError(f"asked for the bytes from {start:,}, got {text!r}; starting over")
        return total

    def _read_note(self) -> dict:
        try:
            return json.loads((self.folder / "source.json").read_text())
        except (OSError, ValueError):
            return {}

    def _note(self, url: str, response, total: int | None) -> None:
        """Remember which version the bytes are of, before the first of them is written."""
        etag = response.headers.get("ETag", "")
        # If-Range takes strong validators only.
        version = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
        self.bytes_path.unlink(missing_ok=True)
        write_json(self.folder / "source.json", {"url": url, "version": version, "total": total})


def check_start(name: str, first: bytes) -> None:
    """Refuse first bytes that cannot be those of a file of this name.

    Raises:
        RefusedError: Nothing, a page, or another kind of file.
    """
    if not first:
        raise RefusedError("empty answer")
    magic = MAGIC.get(Path(name).suffix, b"")
    if first.lstrip()[:1] == b"<" or not first.startswith(magic[: len(first)]):
        raise RefusedError(f"host challenge or another file: it starts with {first[:16]!r}")


def no_room(place: Path, need: int, free: int) -> OutputError:
    """The refusal of a disk that is too small."""
    do = "Make room or pass another --out."
    return OutputError(place, "free disk", f"{need / 1e9:,.2f} GB", f"{free / 1e9:,.2f} GB", do)


def write_json(path: Path, content: dict) -> None:
    """Write a small JSON file so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(path)


def _retry_after(response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else 0.0
