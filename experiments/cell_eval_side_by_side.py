"""Run `vc-eval cells` and `cell-eval run` on one real file and write both outputs beside each other as a page.

    python experiments/cell_eval_side_by_side.py ../shared/data/single_cell/norman2019_k562_crispra_500g.h5ad docs/log/cell-eval-side-by-side.md

One random half of every label's cells plays the real data, the other half the prediction.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

SHOWN = 12


def halves(source: Path, folder: Path) -> None:
    """Write one half of the cells of each perturbation as the prediction of the other half."""
    adata = anndata.read_h5ad(source)
    labels = adata.obs["perturbation"].astype(str).to_numpy()
    rng = np.random.default_rng(0)
    first = np.zeros(adata.n_obs, bool)
    for label in sorted(set(labels)):
        rows = rng.permutation(np.flatnonzero(labels == label))
        first[rows[: rows.size // 2]] = True
    for name, rows in (("real", first), ("pred", ~first)):
        part = anndata.AnnData(adata.X[rows], obs=pd.DataFrame({"perturbation": labels[rows]}, index=adata.obs_names[rows]), var=pd.DataFrame(index=adata.var_names))  # fmt: skip
        part.write_h5ad(folder / f"{name}.h5ad")


def main() -> None:
    """Score the halves by both programs and write the page."""
    source, page = Path(sys.argv[1]), Path(sys.argv[2])
    tools = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        halves(source, folder)
        commands = {
            "vc-eval": "vc-eval cells --real real.h5ad --pred pred.h5ad --pert-col perturbation --control control --rule vcc2025 --quiet --out ours",
            "cell-eval": "cell-eval run -ar real.h5ad -ap pred.h5ad --pert-col perturbation --control-pert control --profile vcc --num-threads 2 -o theirs",
        }
        said = {}
        for program, command in commands.items():
            program_path, *arguments = command.split()
            done = subprocess.run(
                [str(tools / program_path), *arguments], cwd=folder, capture_output=True, text=True, check=True
            )
            said[program] = done.stdout
        tables = {
            n: pd.read_csv(folder / n / "results.csv").sort_values("perturbation", ignore_index=True)
            for n in ("ours", "theirs")
        }
        means = {n: pd.read_csv(folder / n / "agg_results.csv").set_index("statistic") for n in ("ours", "theirs")}
    both = tables["ours"].merge(tables["theirs"], on="perturbation", suffixes=(" (vc-eval)", " (cell-eval)"))
    exact = ["overlap_at_N", "discrimination_score_l1"]
    equal = int((tables["ours"][exact] == tables["theirs"][exact]).all(axis=1).sum())
    apart = float((tables["ours"]["mae"] - tables["theirs"]["mae"]).abs().max())
    lines = [
        "# vc-eval and cell-eval 0.8.2 on one real file", "",
        f"`{source.name}`: one random half of every label's cells as the real data, the other half as the prediction, raw counts on",
        "both sides (either program scales them to the median and takes log1p). Made by",
        f"`python experiments/cell_eval_side_by_side.py ../shared/data/single_cell/{source.name} docs/log/{page.name}`.", "",
        f"DES and PDS are equal to the last digit for {equal} of {len(both)} perturbations; MAE differs by at most {apart:.1e}.", "",
        "## vc-eval", "", "```", f"$ {commands['vc-eval']}", said["vc-eval"].rstrip(), "```", "",
        "`ours/agg_results.csv`:", "", "```", means["ours"].to_csv().rstrip(), "```", "",
        "## cell-eval", "", "```", f"$ {commands['cell-eval']}", "```", "", "`theirs/agg_results.csv`:", "", "```",
        means["theirs"].to_csv().rstrip(), "```", "",
        f"## The first {SHOWN} perturbations", "",
        "| perturbation | DES, vc-eval | DES, cell-eval | PDS, vc-eval | PDS, cell-eval | MAE, vc-eval | MAE, cell-eval |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in both.head(SHOWN).itertuples(index=False):
        values = dict(zip(both.columns, row, strict=True))
        cells = [
            f"{values[f'{metric} ({program})']:.6f}"
            for metric in ("overlap_at_N", "discrimination_score_l1", "mae")
            for program in ("vc-eval", "cell-eval")
        ]
        lines.append(f"| {values['perturbation']} | {' | '.join(cells)} |")
    page.write_text("\n".join(lines) + "\n")
    print(f"wrote {page}: {equal} of {len(both)} equal, MAE within {apart:.1e}")


if __name__ == "__main__":
    main()
