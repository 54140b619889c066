"""Convert every file of a folder with two trees of this project and compare what came out: cells, controls, effects.

uv run python experiments/safety/unchanged.py ../shared/data/single_cell OLDER_TREE
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import anndata
import numpy as np

HERE = Path(__file__).resolve().parents[2]


def convert(tree: Path, source: Path, out: Path) -> str:
    """Convert with a tree's own program; what it says where it refuses."""
    program = tree / ".venv" / "bin" / "vc-data"
    done = subprocess.run([program, "convert", source, out], capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def effects(screen: anndata.AnnData) -> dict[tuple[str, str], np.ndarray]:
    """(cell line, perturbation) -> mean log1p of counts per ten thousand, minus that of the line's controls."""
    x = (
        screen.X.astype(np.float64)
        .multiply(1e4 / np.maximum(screen.obs["total_counts"].to_numpy()[:, None], 1))
        .tocsr()
        .log1p()
    )
    found = {}
    for line, of_line in screen.obs.groupby("cell_line", observed=True):
        control = x[screen.obs_names.get_indexer(of_line.index[of_line["is_control"]])].mean(axis=0).A1
        for label, cells in of_line[~of_line["is_control"]].groupby("perturbation", observed=True):
            found[line, label] = x[screen.obs_names.get_indexer(cells.index)].mean(axis=0).A1 - control
    return found


def compare(old: anndata.AnnData, new: anndata.AnnData) -> str:
    """What differs; 'same' where nothing does."""
    if set(old.obs_names) != set(new.obs_names):
        return f"cells differ: {len(set(old.obs_names) ^ set(new.obs_names))}"
    old = old[new.obs_names]
    if not (old.obs["is_control"].to_numpy() == new.obs["is_control"].to_numpy()).all():
        return "controls differ"
    if list(old.var_names) != list(new.var_names) or (old.X != new.X).nnz:
        return "counts differ"
    columns = [c for c in ("perturbation", "target", "cell_line", "batch", "mode") if not
               (old.obs[c].astype(str).to_numpy() == new.obs[c].astype(str).to_numpy()).all()]  # fmt: skip
    one, other = effects(old), effects(new)
    if set(one) != set(other) or any(not np.array_equal(one[key], other[key]) for key in one):
        return f"effects differ (columns {columns})"
    return "same" if not columns else f"same, but columns {columns}"


def main() -> None:
    """Print a table, one row a file."""
    folder, older = Path(sys.argv[1]), Path(sys.argv[2])
    print("| file | cells | controls | effects | against the older tree |\n|---|---|---|---|---|")
    for source in sorted(folder.glob("*.h5ad")):
        with tempfile.TemporaryDirectory() as name:
            said = [convert(tree, source, Path(name, f"{k}.zarr")) for k, tree in enumerate((older, HERE))]
            if any(said):
                print(f"| {source.stem} | | | | {' / '.join(said)} |", flush=True)
                continue
            old, new = (anndata.read_zarr(Path(name, f"{k}.zarr")) for k in range(2))
            controls = int(new.obs["is_control"].sum())
            print(
                f"| {source.stem} | {new.n_obs:,} | {controls:,} | {len(effects(new))} | {compare(old, new)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
