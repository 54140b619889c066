"""Several files at once give the screens of one at a time, on this machine and on a cluster."""

import subprocess
import sys

import pytest
from vc_data.cli.main import main
from vc_data.contract import sha256_tree
from vc_data.convert.many import convert_many
from vc_data.convert.run import convert
from vc_data.errors import OutputError, VcDataError
from vc_data.testing import make_foreign, write_foreign


@pytest.fixture
def sources(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    paths = [
        write_foreign(make_foreign(seed=i), tmp_path / f"s{i}.h5ad", matrix=m) for i, m in enumerate(("csr", "csc"))
    ]
    for path in paths:
        convert(path, path.with_suffix(".zarr"))
    (tmp_path / "bad.h5ad").write_text("<html>")
    return paths


def same_bytes(paths, out_dir):
    return all(sha256_tree(out_dir / f"{p.stem}.zarr") == sha256_tree(p.with_suffix(".zarr")) for p in paths)


def test_processes_of_this_machine(sources, tmp_path, capsys):
    bad = tmp_path / "bad.h5ad"
    code = main(
        ["convert", *map(str, (sources[0], bad, sources[1])), "--out-dir", str(tmp_path / "out"), "--jobs", "2"]
    )
    out, err = capsys.readouterr()
    assert code == 2 and same_bytes(sources, tmp_path / "out") and not (tmp_path / "out" / "bad.zarr").exists()
    assert "expected 3 screens, found 2" in err and "bad.h5ad" in err and "an HDF5 file" in err
    assert out.index("s0.h5ad:") < out.index("bad.h5ad:") < out.index("s1.h5ad:")


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_of_two_processes(sources, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        outcomes = convert_many(
            [*sources, tmp_path / "bad.h5ad"], tmp_path / "out", scheduler=cluster.scheduler_address
        )
    assert [outcome.report is not None for outcome in outcomes] == [True, True, False]
    assert outcomes[0].report.n_cells == 120 and "HDF5" in outcomes[2].error
    assert same_bytes(sources, tmp_path / "out")


def test_two_files_never_share_an_output(sources, tmp_path):
    (tmp_path / "more").mkdir()
    twin = write_foreign(make_foreign(), tmp_path / "more" / "s0.h5ad")
    with pytest.raises(OutputError, match=r"s0.zarr"):
        convert_many([sources[0], twin], tmp_path / "out")


@pytest.mark.filterwarnings("ignore")
def test_nobody_at_the_address(sources, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("distributed.Client.__init__", _refuse)
    with pytest.raises(VcDataError, match=r"tcp://127\.0\.0\.1:9"):
        convert_many(sources, tmp_path / "out", scheduler="tcp://127.0.0.1:9")


def _refuse(*_, **__):
    raise OSError("timed out")


BOUNDED = """
import resource, sys, threading
threading.stack_size(1 << 19)  # stacks are counted too, however little of them is used
import anndata, h5py, numpy, pandas, scipy.sparse, zarr, tqdm
import vc_data.convert.source, vc_data.convert.counts, vc_data.screen.file
from vc_data.convert.obs import read_cells
from vc_data.convert.run import convert
from vc_data.options import ConvertOptions
vc_data.convert.source.BLOCK_ELEMENTS = 1 << 17
vc_data.convert.counts.RANGE_ELEMENTS = 1 << 16
vc_data.screen.file.CHUNK, vc_data.screen.file.SHARD, vc_data.screen.file.BATCH_ELEMENTS = 1 << 14, 1 << 16, 1 << 16
source, small, out, room, backed = sys.argv[1:]
convert(small, out + ".warm.zarr")  # threads and lazily imported modules
data = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) << 10
resource.setrlimit(resource.RLIMIT_DATA, (data + int(room), data + int(room)))
convert(source, out, ConvertOptions(backed=backed == "yes"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA bounds all private memory on Linux only")
@pytest.mark.parametrize("matrix", ["csr", "csc"])
def test_memory_is_bounded_by_the_block(tmp_path, matrix):
    """The kernel refuses memory beyond a bound that is a fraction of the counts; reading the file whole breaks it."""
    adata = make_foreign(cells_per_group=2500, n_genes=560)
    source = write_foreign(adata, tmp_path / "a.h5ad", matrix=matrix)
    small = write_foreign(make_foreign(), tmp_path / "small.h5ad")
    room = 68 << 20
    assert (adata.X > 0).sum() * 8 > 2 * room

    def run(backed):
        command = [sys.executable, "-c", BOUNDED, source, small, tmp_path / f"{backed}.zarr", str(room), backed]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    bounded = run("yes")
    assert bounded.returncode == 0, bounded.stderr[-2000:]
    if matrix == "csr":
        assert "MemoryError" in run("no").stderr
