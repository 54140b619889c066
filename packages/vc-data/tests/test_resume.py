"""A killed conversion goes on where it was and gives the bytes of an uninterrupted one."""

import os
import subprocess
import sys

import pytest
from vc_data.contract import sha256_tree
from vc_data.convert.run import convert
from vc_data.errors import CountsError, OutputError
from vc_data.options import ConvertOptions
from vc_data.screen.part import open_part, part_path, write_note
from vc_data.testing import make_foreign, write_foreign

# Small blocks and shards, so that a small file goes through every stage many times.
PROGRAM = """
import os, random, signal, sys, time
from pathlib import Path
import anndata, h5py, pandas, scipy.sparse, zarr
import vc_data.convert.counts, vc_data.screen.part, vc_data.screen.file, vc_data.convert.source
from vc_data.convert.run import convert
from vc_data.screen.part import part_path
vc_data.convert.source.BLOCK_ELEMENTS = 1500
vc_data.convert.counts.RANGE_ELEMENTS = 4000
vc_data.screen.file.CHUNK, vc_data.screen.file.SHARD, vc_data.screen.file.BATCH_ELEMENTS = 256, 1024, 512
source, seed = sys.argv[1], int(sys.argv[2])

def slowly(path, note, write=vc_data.screen.part.write_note):
    time.sleep(0.02)  # between what is written and the note of it: the moment that matters
    write(path, note)

vc_data.convert.counts.write_note = vc_data.screen.file.write_note = slowly

def work(target):
    pid = os.fork()
    if pid == 0:
        sys.stderr = open(os.devnull, "w")
        convert(source, target)
        os._exit(0)
    return pid

began = time.monotonic()
assert os.waitpid(work("whole.zarr"), 0)[1] == 0
whole = time.monotonic() - began
rng, with_work = random.Random(seed), 0
for target in (f"out{i}.zarr" for i in range(20)):
    for attempt in range(100):
        pid = work(target)
        time.sleep(whole * rng.uniform(0.1, 1.0 if attempt < 4 else 3.0))
        os.kill(pid, signal.SIGKILL)
        killed = os.waitpid(pid, 0)[1] != 0
        with_work += killed and (part_path(Path(target)) / "spool" / "spool.json").exists()
        if os.path.exists(target):
            break
    if with_work >= 3:
        break
print(with_work)
"""


@pytest.mark.parametrize("matrix", ["csr", "csc"])
def test_kill_9_at_random_moments(tmp_path, matrix):
    source = write_foreign(make_foreign(cells_per_group=15, n_genes=60), tmp_path / "a.h5ad", matrix=matrix)
    command = [sys.executable, "-c", PROGRAM, source, "3"]
    environment = os.environ | {"SOURCE_DATE_EPOCH": "0"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert result.returncode == 0, result.stderr
    # Kills that left work behind, which a later run took up.
    assert int(result.stdout) >= 3
    outputs = sorted(tmp_path.glob("out*.zarr"))
    assert outputs and {sha256_tree(path) for path in outputs} == {sha256_tree(tmp_path / "whole.zarr")}
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize("matrix", ["csr", "csc", "dense"])
def test_interrupt_after_any_note(tmp_path, monkeypatch, matrix):
    """The n-th note is the last thing a run does; the next run starts from it."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    monkeypatch.setattr("vc_data.convert.source.BLOCK_ELEMENTS", 300)
    monkeypatch.setattr("vc_data.convert.counts.RANGE_ELEMENTS", 400)
    for name, size in (("CHUNK", 64), ("SHARD", 256), ("BATCH_ELEMENTS", 512)):
        monkeypatch.setattr(f"vc_data.screen.file.{name}", size)
    source = write_foreign(make_foreign(), tmp_path / "a.h5ad", matrix=matrix)
    notes, last = [], [0]

    def stop(path, note):
        write_note(path, note)
        notes.append(path.name)
        if len(notes) == last[0]:
            raise KeyboardInterrupt

    for module in ("convert.counts", "screen.file"):
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


@pytest.mark.parametrize("between", [False, True])
def test_what_zarr_had_begun_to_write_is_not_part_of_the_screen(tmp_path, monkeypatch, between):
    """A kill leaves zarr's half-written file beside its place, and a note that has not yet taken the former's place."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    for name, size in (("CHUNK", 64), ("SHARD", 256), ("BATCH_ELEMENTS", 512)):
        monkeypatch.setattr(f"vc_data.screen.file.{name}", size)
    source, out = write_foreign(make_foreign(), tmp_path / "a.h5ad"), tmp_path / "out.zarr"
    convert(source, tmp_path / "whole.zarr")

    def stop(path, note):
        write_note(path, note)
        if note["n_values"]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("vc_data.screen.file.write_note", stop)
        convert(source, out)
    part = part_path(out)
    for folder in ("", "X", "X/data", "X/data/c"):
        (part / "screen" / folder / "zarr.0123456789abcdef.partial").write_bytes(b"half")
    if between:
        (part / "matrix.json").rename(part / "matrix.json.new")
    convert(source, out)
    assert sha256_tree(out) == sha256_tree(tmp_path / "whole.zarr")


def test_work_of_another_job_is_never_taken_up(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    source = write_foreign(make_foreign(), tmp_path / "a.h5ad")
    convert(source, tmp_path / "whole.zarr")

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vc_data.screen.file._write_matrix", interrupt)
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
