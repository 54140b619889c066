"""Vectors kept on disk while a bank is made, so that a run that was killed goes on where it was, to the same bytes.

A folder holds one `.npy` per shard and its digest. A shard is written to a temporary name and renamed; one whose digest
fails is computed again. The folder's plan states encoder and keys: a folder of another plan is refused.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from vc_featurize.errors import InputError


class ShardStore:
    """The shards of one run in a folder."""

    def __init__(self, folder: str | Path, plan: dict) -> None:
        """Open or make the folder.

        Raises:
            InputError: If the folder holds shards of another plan (another encoder, revision or other texts).
        """
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(plan, sort_keys=True, indent=1)
        plan_fpath = self._folder / "plan.json"
        if plan_fpath.exists() and plan_fpath.read_text() != text:
            raise InputError(
                f"{self._folder}: expected shards of this run, found those of another encoder, revision, setting or "
                "list of texts. Give another --work folder, or delete this one."
            )
        if not plan_fpath.exists():
            _write_whole(plan_fpath, text.encode())

    def get(self, number: int, shape: tuple[int, int]) -> np.ndarray | None:
        """A finished shard, memory-mapped; None where it is absent, damaged or of another shape."""
        fpath, digest_fpath = self._fpath(number), self._fpath(number).with_suffix(".sha256")
        if not (fpath.exists() and digest_fpath.exists()):
            return None
        with fpath.open("rb") as fd:
            if hashlib.file_digest(fd, "sha256").hexdigest() != digest_fpath.read_text().strip():
                return None
        vectors = np.load(fpath, mmap_mode="r", allow_pickle=False)
        return vectors if vectors.shape == shape and vectors.dtype == np.float32 else None

    def put(self, number: int, vectors_nd: np.ndarray) -> None:
        """Keep a shard; the digest comes last, so that a shard without one counts as absent."""
        import io

        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(vectors_nd, dtype=np.float32), allow_pickle=False)
        blob = buffer.getvalue()
        _write_whole(self._fpath(number), blob)
        _write_whole(self._fpath(number).with_suffix(".sha256"), hashlib.sha256(blob).hexdigest().encode())

    def _fpath(self, number: int) -> Path:
        return self._folder / f"shard-{number:06d}.npy"


def _write_whole(fpath: Path, blob: bytes) -> None:
    tmp_fpath = fpath.with_name(f".{fpath.name}.tmp")
    tmp_fpath.write_bytes(blob)
    tmp_fpath.replace(fpath)
