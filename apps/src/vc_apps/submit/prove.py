"""Pack cells as the archive of a rule, and prove it: reopened it holds what was packed, and the official tool makes the same."""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vc_apps.outputs import AppError
from vc_apps.submit.challenge import Challenge

if TYPE_CHECKING:
    import anndata
    import pandas as pd

TOOLS = {"vcc2025": "cell-eval", "vcc2026": "vcc"}


def pack(out: Path, cells: "anndata.AnnData", challenge: Challenge) -> list[str]:
    """Write the .vcc; notes for the user."""
    if challenge.rule == "vcc2025":
        from vc_eval.vcc2025.archive import PrepConfig, prepare_submission, write_archive

        config = PrepConfig(celltype_col=challenge.context_column, expected_genes=challenge.expected_genes)
        prepared, notes = prepare_submission(cells, list(challenge.genes), config)
        write_archive(out, prepared)
        return notes
    from vc_eval.vcc2026 import archive
    from vc_eval.vcc2026.submission import SubmissionRules

    archive.write_archive(out, cells, SubmissionRules(genes=challenge.genes, perturbations=challenge.wanted))
    return []


def reopen(path: Path) -> "anndata.AnnData":
    """The cells of an archive.

    Raises:
        AppError: If it is no tar, has other members than the rule's, or they cannot be read.
    """
    from vc_eval.cells.archive import unpack_cells

    known = ("pred.h5ad.zst", "watermark.txt", "meta.json")
    try:
        with tarfile.open(path, "r:") as tar:
            names = tar.getnames()
            if "pred.h5ad.zst" not in names or set(names) - set(known):
                raise AppError(f"{path}: [archive_layout] members: expected pred.h5ad.zst beside watermark.txt (2025) or after "
                               f"meta.json (2026), found {names}. Pack it with `vc submit`.")  # fmt: skip
            member = tar.extractfile("pred.h5ad.zst")
            if member is None:
                raise AppError(f"{path}: [archive_layout] pred.h5ad.zst: expected a file, found a link. Pack it again.")
            return unpack_cells(path, member)
    except (tarfile.TarError, OSError) as error:
        raise AppError(f"{path}: [archive_layout] file: expected an uncompressed tar, found none that can be read ({error}). "
                       "Pack it with `vc submit`.") from None  # fmt: skip


def ask_official(cells_path: Path, ours: "anndata.AnnData", challenge: Challenge) -> dict[str, Any]:
    """Run the official tool on the same cells and compare its archive with ours.

    Returns:
        `tool`, `version`, and `verdict`: `accepted, same cells`, or why it could not be asked.

    Raises:
        AppError: If it refuses the cells, or makes other cells of them.
    """
    import numpy as np

    tool = shutil.which(TOOLS[challenge.rule], path=str(Path(sys.executable).parent)) or shutil.which(
        TOOLS[challenge.rule]
    )
    if tool is None:
        return {"tool": TOOLS[challenge.rule], "verdict": "not installed, not asked"}
    if challenge.rule == "vcc2025" and shutil.which("zstd") is None:
        return {"tool": "cell-eval", "verdict": "needs the program zstd, not asked"}
    with tempfile.TemporaryDirectory(dir=cells_path.parent) as folder:
        theirs = Path(folder) / "theirs.vcc"
        command = [tool, "prep", "-i", str(cells_path), "-o", str(theirs), *_lists(Path(folder), challenge)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not theirs.exists():
            said = (done.stderr or done.stdout).strip()[-600:]
            raise AppError(
                f"{cells_path}: {TOOLS[challenge.rule]} prep: expected it to accept the cells, found: {said}"
            )
        other = reopen(theirs)
    theirs_x: Any = other.X
    ours_x: Any = ours.X
    theirs_obs, ours_obs = cast("pd.DataFrame", other.obs), cast("pd.DataFrame", ours.obs)
    same = list(other.var_names) == list(ours.var_names) and other.shape == ours.shape
    if (
        not same
        or abs(theirs_x - ours_x).max() > 1e-5
        or not np.array_equal(theirs_obs.to_numpy(str), ours_obs.to_numpy(str))
    ):
        raise AppError(f"{cells_path}: {TOOLS[challenge.rule]} prep: expected the cells that we packed, found others. "
                       "Please report this with the receipt.")  # fmt: skip
    return {"tool": TOOLS[challenge.rule], "version": _version(challenge.rule), "verdict": "accepted, same cells"}


def _lists(folder: Path, challenge: Challenge) -> list[str]:
    genes = folder / "genes.csv"
    genes.write_text("".join(f"{gene}\n" for gene in challenge.genes))
    shared = ["-g", str(genes), "--expected-gene-dim", str(len(challenge.genes))]
    if challenge.rule == "vcc2025":
        return [*shared, "-c", challenge.context_column]
    rows = {(context, name): n for context, asked in challenge.wanted.items() for name, n in asked.items()}
    names = {name: n for (_, name), n in rows.items()}
    everywhere = all(len(asked) == len(names) for asked in challenge.wanted.values())
    perts = folder / "pert_counts.csv"
    perts.write_text("target_gene,n_cells\n" + "".join(f"{name},{n}\n" for name, n in names.items()))
    targets = [] if everywhere else ["--no-verify-targets", "--no-check-cell-counts"]
    return [*shared, "--perts", str(perts), "--contexts", ",".join(challenge.wanted), *targets]


def _version(rule: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version({"vcc2025": "cell-eval", "vcc2026": "vcc-cli"}[rule])
    except PackageNotFoundError:
        return "unknown"
