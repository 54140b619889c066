"""`vc quickstart` on input that cannot be used: one clear message, an exit code, and nothing left behind."""

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from vc_apps.cli import main


def _normalised(adata):
    adata.X = np.log1p(adata.X.toarray() / 3.0)


def _negative(adata):
    adata.X[0, 0] = -1


def _not_a_number(adata):
    adata.X[3, 5] = np.nan


def _no_controls(adata):
    adata.obs["target_gene"] = adata.obs["target_gene"].replace("NT", "G5")


def _duplicated_genes(adata):
    adata.var_names = ["G0", "G0", *adata.var_names[2:]]


def _two_perturbations(adata):
    adata.obs["target_gene"] = adata.obs["target_gene"].replace({"G3": "G1", "G4": "G2"})


BROKEN = {
    "normalised values": (_normalised, [], ["X", "counts"]),
    "negative counts": (_negative, [], ["X", "negative"]),
    "NaN counts": (_not_a_number, [], ["X", "NaN"]),
    "no controls": (_no_controls, [], ["control"]),
    "unknown control label": (lambda adata: None, ["--control", "NTX"], ["NTX", "NT"]),
    "duplicated genes": (_duplicated_genes, [], ["G0"]),
    "too few perturbations": (_two_perturbations, [], ["perturbations", "three"]),
    "absent column": (lambda adata: None, ["--perturbation", "guide"], ["guide", "target_gene"]),
}


def _refused(args: list[str], out_fpath: Path, capfd) -> str:
    """The one message of a refused run; asserts the exit code and that nothing was left."""
    before = sorted(out_fpath.parent.iterdir())
    assert main(["quickstart", *args, "--out", str(out_fpath)]) == 2
    assert sorted(out_fpath.parent.iterdir()) == before, "something was left behind"
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    return errors[0]


@pytest.mark.parametrize("case", BROKEN)
def test_broken_screens_are_refused(case, screen, tmp_path, capfd):
    damage, flags, words = BROKEN[case]
    damage(screen)
    fpath = tmp_path / "screen.h5ad"
    screen.write_h5ad(fpath)
    message = _refused(["--data", str(fpath), *flags], tmp_path / "run", capfd)
    assert all(word in message for word in ["screen.h5ad", *words]), message


def test_a_file_that_is_no_h5ad_is_refused(tmp_path, capfd):
    fpath = tmp_path / "notes.h5ad"
    fpath.write_text("these are notes")
    assert "notes.h5ad" in _refused(["--data", str(fpath)], tmp_path / "run", capfd)


def test_a_truncated_file_is_refused(screen, tmp_path, capfd):
    fpath = tmp_path / "cut.h5ad"
    screen.write_h5ad(fpath)
    fpath.write_bytes(fpath.read_bytes()[: fpath.stat().st_size // 2])
    assert "cut.h5ad" in _refused(["--data", str(fpath)], tmp_path / "run", capfd)


def test_an_absent_file_is_refused(tmp_path, capfd):
    assert "none.h5ad" in _refused(["--data", str(tmp_path / "none.h5ad")], tmp_path / "run", capfd)


def test_a_folder_that_is_no_run_is_not_replaced(tmp_path, capfd):
    out_dpath = tmp_path / "thesis"
    out_dpath.mkdir()
    (out_dpath / "chapter1.txt").write_text("years of work")
    assert "thesis" in _refused(["--preset", "tiny"], out_dpath, capfd)
    assert (out_dpath / "chapter1.txt").read_text() == "years of work"


def _vc(args: list[str], *, before: str = "") -> subprocess.Popen:
    code = f"{before}; import sys; from vc_apps.cli import console; sys.exit(console())"
    return subprocess.Popen(
        [sys.executable, "-c", code.lstrip("; "), "quickstart", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["small disk", "small files"])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, kind):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    mounted = (
        kind == "small disk" and shutil.which("mount") and subprocess.run(mount, capture_output=True).returncode == 0
    )
    # Where nothing may be mounted, files that may not grow stand for a disk that is full. Under such a limit Python leaves
    # cut .pyc files, which break every later process, so it is told to write none.
    limit = "import resource, sys; sys.dont_write_bytecode = True; "
    limit = "" if mounted else limit + "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    try:
        process = _vc(["--preset", "tiny", "--out", str(disk / "run")], before=limit)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 2
        assert [line for line in err.splitlines() if line.startswith("error:")] and "no room left" in err.splitlines()[
            -1
        ]
        assert list(disk.iterdir()) == []
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(disk)], check=True)


def test_ctrl_c_leaves_nothing(tmp_path):
    process = _vc(["--preset", "tiny", "--out", str(tmp_path / "run")])
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if list(tmp_path.glob(".run.tmp-*/screen.zarr")):
            break
        time.sleep(0.05)
    for _ in range(20):
        # A signal that arrives inside a destructor is lost to Python; people press Ctrl-C again.
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            _, err = process.communicate(timeout=6)
            break
    assert process.returncode == 130
    assert "interrupted" in err
    assert list(tmp_path.iterdir()) == []
