import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import vc_data.screen.file
from vc_contracts import sha256_tree
from vc_data.cli.main import main
from vc_data.screen.file import read_screen
from vc_data.split.file import read_splits
from vc_data.testing import make_foreign, write_foreign


def run(capsys, *args):
    """Exit code, lines on stdout, lines on stderr that are no progress bar."""
    try:
        code = main([str(arg) for arg in args])
    except SystemExit as exit_:
        code = exit_.code
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def refused(capsys, folder, *args):
    """The one message of a refusal; nothing may be left behind."""
    before = sorted(path.name for path in folder.iterdir())
    code, out, err = run(capsys, *args)
    assert code == 2 and out == [] and len(err) == 1, err
    assert err[0].startswith("error: ")
    assert sorted(path.name for path in folder.iterdir()) == before
    return err[0]


@pytest.fixture
def toy(tmp_path, foreign):
    return write_foreign(foreign, tmp_path / "toy.h5ad")


def edit_obs(adata, **columns):
    adata = adata.copy()
    for name, values in columns.items():
        adata.obs[name] = values
    return adata


def test_convert_inspect_split_end_to_end(toy, tmp_path, capsys):
    code, out, _ = run(capsys, "convert", toy, tmp_path / "toy.zarr")
    assert code == 0
    assert "perturbation column: 'target_gene' (guessed)" in out
    assert out[-1].startswith(f"wrote {tmp_path / 'toy.zarr'}; next: vc-data inspect")
    code, out, _ = run(capsys, "inspect", tmp_path / "toy.zarr")
    assert code == 0 and out[0] == "cells: 120" and "perturbations: 4" in out
    code, out, _ = run(capsys, "inspect", tmp_path / "toy.zarr", "--json")
    assert json.loads("\n".join(out))["cell_lines"]["K562"]["controls"] == 12
    code, out, _ = run(capsys, "split", tmp_path / "toy.zarr", tmp_path / "s.json", "--min-cells", "5")
    assert code == 0 and out[-1].startswith(f"wrote {tmp_path / 's.json'}")
    splits = read_splits(tmp_path / "s.json", read_screen(tmp_path / "toy.zarr"))
    assert splits.header["parents"] == {"toy.zarr": sha256_tree(tmp_path / "toy.zarr")}


@pytest.mark.parametrize(
    "args",
    [
        ("--recipe", "by_cell_line", "--test-lines", "RPE1"),
        ("--recipe", "few_shot", "--cell-line", "K562", "--n-train", "1", "--n-val", "1", "--n-test", "1"),
    ],
)
def test_other_recipes(screen_path, tmp_path, capsys, args):
    code, _, _ = run(capsys, "split", screen_path, tmp_path / "s.json", "--min-cells", "5", *args)
    assert code == 0 and read_splits(tmp_path / "s.json").recipe == args[1]


def test_inspect_says_how_a_foreign_file_would_be_read(toy, capsys):
    code, out, _ = run(capsys, "inspect", toy)
    text = "\n".join(out)
    assert code == 0 and "X: 120 x 12, csr, whole numbers" in text
    assert "perturbation column: 'target_gene' (guessed)" in text


def test_inspect_of_an_unclear_file_names_the_flag(tmp_path, foreign, capsys):
    adata = foreign.copy()
    del adata.obs["cell_line"]
    write_foreign(adata, tmp_path / "a.h5ad", layer="counts")
    code, out, _ = run(capsys, "inspect", tmp_path / "a.h5ad")
    text = "\n".join(out)
    assert code == 0 and "--cell-line" in text and "no counts" in text and "counts: 120 x 12, csr, whole" in text


def test_genes_reports_and_writes_the_full_lists(toy, tmp_path, capsys):
    (tmp_path / "panel.txt").write_text("GENE1\nNOPE\n")
    code, out, _ = run(capsys, "genes", toy, tmp_path / "panel.txt", "--output", tmp_path / "g.json")
    assert code == 0 and out[0] == "panel genes measured: 1 of 2 (1 by name)"
    report = json.loads((tmp_path / "g.json").read_text())
    assert report["unmeasured"]["genes"] == ["NOPE"] and report["dropped"]["not in panel"]["n"] == 11


def test_simulated_screen_converts(tmp_path, capsys):
    code, out, _ = run(capsys, "simulate", tmp_path / "demo", "--preset", "tiny", "--seed", "1")
    assert code == 0 and out[-1].startswith("wrote")
    code, out, _ = run(capsys, "convert", tmp_path / "demo" / "screen.h5ad", tmp_path / "demo.zarr")
    assert code == 0, out


@pytest.mark.parametrize("command", [[], ["convert"], ["inspect"], ["split"], ["genes"], ["simulate"]])
def test_help_has_examples_and_loads_nothing_heavy(command):
    program = (
        "import sys; from vc_data.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('HEAVY', {'anndata', 'pandas', 'scipy', 'zarr', 'h5py', 'jax'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program, *command, "--help"], capture_output=True, text=True)
    assert result.returncode == 0 and "vc-data " in result.stdout and "HEAVY set()" in result.stdout, result.stdout
    assert "vc-data simulate" in result.stdout or f"vc-data {command[0]} " in result.stdout.split("\n", 1)[1]


def text(path):
    path.write_text("<html>not found</html>")


def truncated(path):
    write_foreign(make_foreign(cells_per_group=200), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damaged(path):
    """A file whose structure is whole but whose counts do not decompress."""
    write_foreign(make_foreign(), path)
    with h5py.File(path, "r+") as file:
        values = file["X/data"][:]
        del file["X/data"]
        data = file["X"].create_dataset("data", data=values, chunks=values.shape, compression="gzip")
        place = data.id.get_chunk_info(0)
    with path.open("r+b") as file:
        file.seek(place.byte_offset)
        file.write(b"\0" * place.size)


def no_annodata(path):
    with h5py.File(path, "w") as file:
        file["matrix"] = np.zeros(3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (None, ["nothing", "Pass the path"]),
        (text, ["HDF5", "22 bytes"]),
        (truncated, ["truncated", "fetch it again"]),
        (damaged, ["damaged", "fetch it again"]),
        (no_annodata, ["'obs'", "'matrix'"]),
    ],
)
def test_files_that_are_no_h5ad(tmp_path, capsys, make, words):
    if make:
        make(tmp_path / "bad.h5ad")
    message = refused(capsys, tmp_path, "convert", tmp_path / "bad.h5ad", tmp_path / "out.zarr")
    for word in ["bad.h5ad", *words]:
        assert word in message


def with_value(value):
    def change(adata):
        adata = adata.copy()
        adata.X = np.array(adata.X, dtype=np.float64)
        adata.X[5, 3] = value
        return adata

    return change


def logged(adata):
    adata = adata.copy()
    adata.X = np.log1p(adata.X)
    return adata


def rename(adata, column, new):
    adata = adata.copy()
    adata.obs = adata.obs.rename(columns={column: new})
    return adata


def same_gene(adata):
    adata = adata.copy()
    adata.var["gene_name"] = ["A"] * adata.n_vars
    adata.var_names = [str(i) for i in range(adata.n_vars)]
    del adata.var["gene_id"]
    return adata


def one_label(adata):
    return adata[adata.obs["target_gene"].isin(["non-targeting", "GENE0"])].copy()


@pytest.mark.parametrize(
    ("change", "args", "words"),
    [
        (with_value(0.5), [], ["raw counts", "fractional value 0.5 in cell 'cell5', gene"]),
        (with_value(-2), [], ["negative value -2"]),
        (with_value(np.nan), [], ["not finite"]),
        (with_value(np.inf), [], ["not finite"]),
        (logged, [], ["log1p-normalised", "get the raw counts"]),
        (lambda a: edit_obs(a, target_gene="GENE0"), [], ["control cells", "--control"]),
        (lambda a: a, ["--control", "non-targetin"], ["Nearest labels: 'non-targeting'"]),
        (lambda a: a, ["--perturbation", "target"], ["'target'", "Did you mean 'target_gene'"]),
        (lambda a: rename(a, "target_gene", "label"), [], ["--perturbation", "'label'"]),
        (lambda a: rename(a, "cell_line", "where"), [], ["--cell-line", "'where'"]),
        (lambda a: a, ["--mode-name", "magic"], ["crispri", "'magic'"]),
        (lambda a: a, ["--layer", "counts"], ["'counts'", "--layer"]),
        (lambda a: a, ["--panel", "no.txt"], ["no.txt", "Check the path"]),
        (same_gene, [], ["repeated: 'A'", "--duplicates"]),
        (one_label, [], ["three perturbations", "1 perturbations ('GENE0') in 2 conditions"]),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_screens_that_cannot_be_used(tmp_path, foreign, capsys, change, args, words):
    write_foreign(change(foreign), tmp_path / "bad.h5ad", dtype="float64")
    message = refused(capsys, tmp_path, "convert", tmp_path / "bad.h5ad", tmp_path / "out.zarr", *args)
    for word in words:
        assert word in message


@pytest.mark.filterwarnings("ignore")
def test_repeated_cell_names(tmp_path, foreign, capsys):
    adata = foreign.copy()
    adata.obs_names = ["cell"] * adata.n_obs
    write_foreign(adata, tmp_path / "bad.h5ad")
    assert "--make-unique" in refused(capsys, tmp_path, "convert", tmp_path / "bad.h5ad", tmp_path / "out.zarr")


def test_targets_that_cannot_be_written(toy, tmp_path, capsys):
    (tmp_path / "there.zarr").mkdir()
    (tmp_path / "there.zarr" / "mine.txt").write_text("mine")
    assert "--overwrite" in refused(capsys, tmp_path, "convert", toy, tmp_path / "there.zarr")
    assert ".zarr" in refused(capsys, tmp_path, "convert", toy, tmp_path / "out.h5ad")
    assert "Make the folder" in refused(capsys, tmp_path, "convert", toy, tmp_path / "no" / "out.zarr")


def test_split_refusals(screen_path, toy, tmp_path, capsys):
    message = refused(capsys, tmp_path, "split", screen_path, tmp_path / "s.json", "--min-cells", "1000")
    assert "Lower --min-cells" in message
    assert "contract" in refused(capsys, tmp_path, "split", toy, tmp_path / "s.json")
    assert "--cell-line" in refused(capsys, tmp_path, "split", screen_path, tmp_path / "s.json", "--recipe", "few_shot")


CONVERT = "import sys; from vc_data.cli.main import main; sys.exit(main(sys.argv[1:]))"
# Without bytecode: under such a limit Python leaves cut .pyc files, which break every later process.
LIMIT = "import resource, sys; sys.dont_write_bytecode = True; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); "
LIMITED = LIMIT + CONVERT


@pytest.mark.parametrize("matrix", ["csr", "csc"])
def test_full_disk_leaves_nothing_behind(tmp_path, capsys, matrix):
    source = write_foreign(make_foreign(cells_per_group=600, n_genes=60), tmp_path / "large.h5ad", matrix=matrix)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    can_mount = shutil.which("mount") and subprocess.run(mount, capture_output=True).returncode == 0
    command = ["convert", str(source), str(disk / "out.zarr")]
    try:
        if can_mount:
            code, _, err = run(capsys, *command)
        else:
            limited = [sys.executable, "-c", LIMITED, *command]
            result = subprocess.run(limited, capture_output=True, text=True)
            code, err = result.returncode, result.stderr.splitlines()
        left = list(disk.iterdir())
    finally:
        if can_mount:
            subprocess.run(["umount", str(disk)], check=True)
    message = [line for line in err if line.startswith("error: ")]
    assert code == 2 and left == [] and len(message) == 1 and "Nothing was written" in message[0], err
    assert "Traceback" not in "".join(err)


@pytest.mark.parametrize("what", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_or_a_kill_in_the_middle_keeps_the_work_and_no_output(tmp_path, what):
    source = write_foreign(make_foreign(cells_per_group=600, n_genes=60), tmp_path / "large.h5ad")
    folder = tmp_path / "out"
    folder.mkdir()
    # One row a block makes the conversion long enough to be caught in the middle.
    program = "import vc_data.convert.source; vc_data.convert.source.BLOCK_ELEMENTS = 1; " + CONVERT
    command = [sys.executable, "-c", program, "convert", str(source), str(folder / "out.zarr")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in folder.glob(".*/spool/data.u4")) and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        for _ in range(10):
            # A signal that arrives inside a destructor is lost to Python; people press Ctrl-C again.
            process.send_signal(what)
            with contextlib.suppress(subprocess.TimeoutExpired):
                out, err = process.communicate(timeout=6)
                break
    assert process.returncode == 130 and out == ""
    assert err.splitlines()[-1] == "error: interrupted; no output was written" and "Traceback" not in err
    assert "the same command goes on" in err and [path.name for path in folder.iterdir()] == [".out.zarr.part"]


def test_ctrl_c_inside_a_destructor_is_heard(toy, tmp_path, monkeypatch, capsys):
    class Trap:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            sum(range(100))

    def interrupt(*_):
        trap = Trap()
        del trap
        time.sleep(5)
        raise AssertionError("the interrupt was lost")

    monkeypatch.setattr(vc_data.screen.file, "_write_matrix", interrupt)
    hook = sys.unraisablehook
    code, _, err = run(capsys, "convert", toy, tmp_path / "toy.zarr")
    assert code == 130 and err[-1] == "error: interrupted; no output was written"
    assert "Traceback" not in "".join(err) and sys.unraisablehook is hook


def test_ctrl_c_while_the_screen_is_written_keeps_the_old_one(toy, tmp_path, monkeypatch, capsys):
    assert run(capsys, "convert", toy, tmp_path / "toy.zarr")[0] == 0
    before = sha256_tree(tmp_path / "toy.zarr")

    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    monkeypatch.setattr(vc_data.screen.file, "_write_matrix", interrupt)
    code, _, err = run(capsys, "convert", toy, tmp_path / "toy.zarr", "--overwrite", "--seed", "5")
    assert code == 130 and err[-1] == "error: interrupted; no output was written"
    assert sha256_tree(tmp_path / "toy.zarr") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [".toy.zarr.part", "toy.h5ad", "toy.zarr"]
