"""A killed conversion goes on where it was and gives the bytes of an uninterrupted one."""

import json
import os
import subprocess
import sys

import pytest
from vc_data.contract import sha256_tree
from vc_data.convert import ConvertOptions, convert
from vc_data.errors import CountsError, OutputError
from vc_data.part import open_part, part_path, write_note
from vc_data.testing import make_foreign, write_foreign

# Small blocks and shards, so that a small file goes through every stage many times.
PROGRAM = """
import json, os, random, signal, sys, time
from pathlib import Path
import anndata, h5py, pandas, scipy.sparse, zarr
import vc_data.counts, vc_data.screen, vc_data.source
from vc_data.convert import convert
from vc_data.part import part_path
vc_data.source.BLOCK_ELEMENTS = 1500
vc_data.counts.RANGE_ELEMENTS = 4000
vc_data.screen.CHUNK, vc_data.screen.SHARD, vc_data.screen.BATCH_ELEMENTS = 256, 1024, 512
source, out, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])

def work(target):
    pid = os.fork()
    if pid == 0:
        sys.stderr = open(os.devnull, "w")
        convert(source, target)
        os._exit(0)
    return pid

began = time.monotonic()
assert os.waitpid(work(out + ".whole.zarr"), 0)[1] == 0
whole = time.monotonic() - began
rng, stages = random.Random(seed), []
for attempt in range(200):
    pid = work(out)
    # Late enough to get past opening the file, early enough to be a kill in most attempts.
    time.sleep(whole * rng.uniform(0.1, 0.9 if attempt < 5 else 2.0))
    os.kill(pid, signal.SIGKILL)
    killed = os.waitpid(pid, 0)[1] != 0
    folder = part_path(Path(out))
    found = [name for name in ("spool/spool.json", "matrix.json") if (folder / name).exists()]
    stages.append([killed, [json.loads((folder / name).read_text()) for name in found]])
    if os.path.exists(out):
        break
print(json.dumps(stages))
"""


@pytest.mark.parametrize("matrix", ["csr", "csc"])
def test_kill_9_at_random_moments(tmp_path, matrix):
    source = write_foreign(make_foreign(cells_per_group=15, n_genes=60), tmp_path / "a.h5ad", matrix=matrix)
    command = [sys.executable, "-c", PROGRAM, source, "out.zarr", "3"]
    environment = os.environ | {"SOURCE_DATE_EPOCH": "0"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert result.returncode == 0, result.stderr
    stages = json.loads(result.stdout)
    kills = [found for killed, found in stages if killed]
    # Work had begun in several of the killed runs, so that there was something to go on from.
    assert len(kills) >= 3 and sum(bool(found) for found in kills) >= 2, stages
    assert sha256_tree(tmp_path / "out.zarr") == sha256_tree(tmp_path / "out.zarr.whole.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5ad", "out.zarr", "out.zarr.whole.zarr"]


@pytest.mark.parametrize("matrix", ["csr", "csc", "dense"])
def test_interrupt_after_any_note(tmp_path, monkeypatch, matrix):
    """The n-th note is the last thing a run does; the next run starts from it."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    monkeypatch.setattr("vc_data.source.BLOCK_ELEMENTS", 300)
    monkeypatch.setattr("vc_data.counts.RANGE_ELEMENTS", 400)
    for name, size in (("CHUNK", 64), ("SHARD", 256), ("BATCH_ELEMENTS", 512)):
        monkeypatch.setattr(f"vc_data.screen.{name}", size)
    source = write_foreign(make_foreign(), tmp_path / "a.h5ad", matrix=matrix)
    notes, last = [], [0]

    def stop(path, note):
        write_note(path, note)
        notes.append(path.name)
        if len(notes) == last[0]:
            raise KeyboardInterrupt

    for module in ("counts", "screen"):
        monkeypatch.setattr(f"vc_data.{module}.write_note", stop)
    convert(source, tmp_path / "whole.zarr")
    whole, n_notes = sha256_tree(tmp_path / "whole.zarr"), len(notes)
    assert notes.count("matrix.json") >= 3 and notes.count("spool.json") >= 4
    first = notes.index("matrix.json") + 1
    for n in (1, first - 1, first, first + 1, n_notes):
        notes.clear()
        last[0], out = n, tmp_path / f"{n}.zarr"
        with pytest.raises(KeyboardInterrupt):
            convert(source, out)
        assert part_path(out).is_dir() and not out.exists()
        notes.clear()
        last[0] = 0
        convert(source, out)
        # Nothing that was noted is done again.
        assert len(notes) <= n_notes - n + 1
        assert sha256_tree(out) == whole and not part_path(out).exists()


def test_work_of_another_job_is_never_taken_up(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    source = write_foreign(make_foreign(), tmp_path / "a.h5ad")
    convert(source, tmp_path / "whole.zarr")

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vc_data.screen._write_matrix", interrupt)
        with pytest.raises(KeyboardInterrupt):
            convert(source, tmp_path / "out.zarr", ConvertOptions(seed=7))
    write_foreign(make_foreign(seed=1), tmp_path / "b.h5ad")
    convert(source, tmp_path / "out.zarr")
    assert sha256_tree(tmp_path / "out.zarr") == sha256_tree(tmp_path / "whole.zarr")


def test_an_error_leaves_no_work_folder(tmp_path):
    adata = make_foreign()
    adata.X = adata.X + 0.5
    source = write_foreign(adata, tmp_path / "a.h5ad")
    with pytest.raises(CountsError):
        convert(source, tmp_path / "out.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5ad"]


def test_two_processes_never_share_a_work_folder(tmp_path):
    with (
        open_part(tmp_path / "out.zarr", {}),
        pytest.raises(OutputError, match="one process at a time"),
        open_part(tmp_path / "out.zarr", {}),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
