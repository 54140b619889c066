"""Peers on the same work: published models beside ours, on the same split files and cells, scored by the same code.

    uv run python experiments/peers/run.py install PEERS
    uv run python experiments/peers/run.py score run/peers PEERS SCREEN.h5ad --genesets SETS.gmt --splits 3
    uv run python experiments/peers/run.py page run/peers docs/results/peers.md

`install` makes an environment for each peer. `score` converts the screen, holds perturbations out, and gives every peer the
cells that our models are fitted on (training conditions, `reference` and `input` controls, as log1p CP10k) and the same vectors of
gene sets; a peer's script runs in its own environment and gives back one mean profile for each held-out condition. `page` compares
condition by condition. What a peer is given and how it is set stands at the top of its script.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

PACKAGES = {
    "gears": ["cell-gears==0.1.2", "torch_geometric<2.6", "setuptools<80", "pandas<3", "scanpy<1.12", "scipy<1.15"],
    "cellflow": ["cellflow-tools==0.0.9", "requests"],
    "state": ["arc-state==0.11.1"],
}
OURS = ("anchored", "blup", "additive", "txpert_general", "mean_effect", "no_change")
UNITS = {"pearson_delta": ("Pearson of the change", 1), "mse_delta": ("MSE of the change x 1000", 1000)}
NOTES = """
## How to read this

- Peers are small here so that they train on two cores: STATE makes 1,000 updates (400,000 are its default) at a width of 128, CellFlow
  2,000 (200,000 in its tutorials). That they lose on Datlinger says nothing of what they reach with a GPU for a day; what can be
  compared is what each gives for the same minutes and the same files. Seconds are of a machine that had other work.
- Norman's one split holds six conditions out: nothing but STATE and `anchored` can be told apart there, and simple means are ahead in
  the point estimate.
- GEARS was not run to its end: on one core an epoch of its twenty took minutes and 7 GiB on Datlinger. PIE gives calls of
  differential expression and no profiles. McFaline, the larger tables and the simulator are still to be run.
"""


def install(args: argparse.Namespace) -> None:
    """Make the environments; say which do not install."""
    for name, packages in PACKAGES.items():
        python = args.peers / name / "bin" / "python"
        for command in (
            ["uv", "venv", "-q", "--clear", "--python", sys.executable, str(args.peers / name)],
            ["uv", "pip", "install", "-q", "--python", str(python), *packages],
        ):
            if subprocess.run(command).returncode:
                print(f"{name}: does not install ({' '.join(packages)})")
                break
        else:
            print(f"{name}: installed")


def score(args: argparse.Namespace) -> None:
    """Every split of one screen: ours, then every peer; one table of conditions and one of costs."""
    from vc_data import split as splitting
    from vc_data.convert.run import convert
    from vc_data.options import ConvertOptions
    from vc_data.screen.file import read_screen
    from vc_eval.split.score import score_split
    from vc_featurize.bank import write_features
    from vc_featurize.geneset import geneset_features

    folder = args.work / args.screen.stem
    folder.mkdir(parents=True, exist_ok=True)
    screen = folder / "screen.zarr"
    if not screen.exists():
        convert(args.screen, screen, ConvertOptions(dataset=args.screen.stem))
    adata = read_screen(screen)
    targets = sorted(
        {t for label in adata.obs["perturbation"].astype(str).unique() for t in label.split("+")} - {"control"}
    )
    bank = geneset_features(args.genesets, targets)
    if not (folder / "features.zarr").exists():
        write_features(folder / "features.zarr", bank, config={"genesets": args.genesets.name})
    frames, costs = [], []
    for seed in range(args.splits):
        splits, at = folder / f"split-{seed}.json", folder / str(seed)
        at.mkdir(exist_ok=True)
        if not splits.exists():
            splitting.write_splits(splitting.by_perturbation(adata, seed=seed, test=0.25, min_cells=20), splits)
        paths, cost = fit_ours(screen, splits, folder / "features.zarr", at, args.seed)
        give(adata, splits, bank, at)
        for name in args.run:
            found = fit_peer(name, args, at)
            cost[name] = {key: found[key] for key in ("seconds", "gib", "why")}
            if found["profiles"] is not None:
                paths[name] = at / f"{name}.h5ad"
                write_peer(paths[name], paths[OURS[0]], found["profiles"], name)
        scored = score_split(adata, splits, paths, seed=0, split=f"split-{seed}", n_ceiling=2, n_ceiling_des=1)
        frame = scored.conditions
        frames.append(frame[frame["metric"].isin(UNITS)].assign(split=seed))
        costs += [{"split": seed, "model": name, **one} for name, one in cost.items()]
        print(args.screen.stem, seed, costs[-len(cost) :], flush=True)
    pd.concat(frames).to_csv(folder / "conditions.csv", index=False)
    pd.DataFrame(costs).to_csv(folder / "costs.csv", index=False)


def fit_ours(
    screen: Path, splits: Path, features: Path, at: Path, seed: int
) -> tuple[dict[str, Path], dict[str, dict]]:
    """Fit our models on one split; their prediction files, and seconds of each."""
    from vc_model.contracts import write_predictions
    from vc_model.emit.output import make_prediction_file
    from vc_model.models import make_model
    from vc_model.table.pseudobulk import load_tables

    train, _, test = load_tables(screen, splits, features)
    paths, cost = {}, {}
    for name in OURS:
        start = time.perf_counter()
        file = make_prediction_file(make_model(name, seed).fit(train), test)
        gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        cost[name] = {"seconds": time.perf_counter() - start, "gib": gib, "why": ""}
        paths[name] = at / f"{name}.h5ad"
        paths[name].unlink(missing_ok=True)
        write_predictions(paths[name], file)
    return paths, cost


def give(adata, splits: Path, bank, at: Path) -> None:
    """What a peer may see: training cells and fitting controls as log1p CP10k, the vectors, and the names asked for."""
    import anndata
    import scipy.sparse as sp

    content = json.loads(splits.read_text())
    part = {(one["cell_line"], one["perturbation"]): one["part"] for one in content["conditions"]}
    controls = {*content["controls"]["reference"], *content["controls"]["input"]}
    line_n, label_n = adata.obs["cell_line"].astype(str), adata.obs["perturbation"].astype(str)
    keep_n = [
        name in controls if control else part.get((line, label)) in ("train", "val")
        for name, control, line, label in zip(adata.obs_names, adata.obs["is_control"], line_n, label_n, strict=True)
    ]
    seen = adata[np.array(keep_n)].copy()
    counts = sp.csr_matrix(seen.X, dtype=np.float32)
    counts = sp.diags(1e4 / np.maximum(seen.obs["total_counts"].to_numpy(), 1)).astype(np.float32) @ counts
    obs = pd.DataFrame({name: seen.obs[name].astype(str).to_numpy() for name in ("perturbation", "cell_line", "batch")},
                       index=seen.obs_names)  # fmt: skip
    cells = anndata.AnnData(
        sp.csr_matrix(counts.log1p(), dtype=np.float32), obs=obs, var=pd.DataFrame(index=seen.var_names)
    )
    cells.write_h5ad(at / "cells.h5ad")
    asked = [[line, label] for (line, label), which in part.items() if which == "test"]
    inner = [[line, label] for (line, label), which in part.items() if which == "val"]
    (at / "asked.json").write_text(json.dumps({"test": asked, "val": inner}))
    np.savez(at / "vectors.npz", names=np.array(bank.entities), vectors=bank.vectors_ef)


def fit_peer(name: str, args: argparse.Namespace, at: Path) -> dict:
    """Run a peer's script in its environment; profiles, seconds, peak memory, or why there are none."""
    out = (at / f"{name}.npz").resolve()
    script = Path(__file__).with_name(f"{name}_peer.py")
    python = args.peers.resolve() / name / "bin" / "python"
    command = [str(python), "-W", "ignore", str(script), str(at.resolve()), str(out), str(args.steps or 0)]
    if not out.exists():
        start = time.perf_counter()
        with (at / f"{name}.log").open("w") as log:
            environment = {k: v for k, v in os.environ.items() if not k.startswith("VIRTUAL_ENV")} | {
                "HF_HUB_OFFLINE": "1"
            }
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=at, env=environment)
            _, status, usage = os.wait4(process.pid, 0)
        cost = {"seconds": time.perf_counter() - start, "gib": usage.ru_maxrss / 2**20}
        (at / f"{name}.cost.json").write_text(json.dumps(cost))
        if os.waitstatus_to_exitcode(status) or not out.exists():
            return cost | {"profiles": None, "why": reason((at / f"{name}.log").read_text())}
    cost = json.loads((at / f"{name}.cost.json").read_text())
    return cost | {"profiles": np.load(out, allow_pickle=False), "why": ""}


def reason(log: str) -> str:
    """The first line of a log that names an error other than a command's exit status."""
    lines = [
        line
        for line in log.splitlines()
        if "Error" in line and ":" in line and not line.startswith((" ", "subprocess"))
    ]
    return (lines or log.strip().splitlines() or ["no output"])[0][:200].replace("|", "/")


def write_peer(path: Path, like: Path, found, name: str) -> None:
    """A peer's profiles as predictions-v1: conditions that it cannot predict get the control profile, and are counted."""
    from dataclasses import replace

    from vc_model.contracts import read_predictions, write_predictions

    file = read_predictions(like)
    column_of = {gene: column for column, gene in enumerate(found["genes"])}
    row_of = {tuple(key.split("|", 1)): row for row, key in enumerate(found["conditions"])}
    columns = np.array([column_of[gene] for gene in file.genes])
    mean_ng = file.mean_ng.copy()
    base = {
        str(line): mean
        for line, mean, control in zip(file.cell_line, file.mean_ng, file.is_control, strict=True)
        if control
    }
    for row, (line, label, control) in enumerate(zip(file.cell_line, file.perturbation, file.is_control, strict=True)):
        key = (str(line), str(label))
        if not control:
            mean_ng[row] = np.maximum(found["profiles"][row_of[key]][columns], 0) if key in row_of else base[key[0]]
    path.unlink(missing_ok=True)
    empty = {
        "sd_ng": None,
        "sd_epistemic_ng": None,
        "width_nl": None,
        "supported_n": None,
        "basis_n": None,
        "levels": (),
    }
    write_predictions(path, replace(file, model=name, role="baseline", mean_ng=mean_ng, **empty))


def page(args: argparse.Namespace) -> None:
    """Means of every model and the paired gain of `anchored` over it, per screen."""
    from vc_eval.stats.bootstrap import cluster_means, cluster_weights, interval

    text = ["# Peers on the same work", "", __doc__.split("\n\n", 1)[1].replace("    uv run", "    uv run"), ""]
    for folder in sorted(path.parent for path in args.work.glob("*/conditions.csv")):
        found, cost = (
            pd.read_csv(folder / "conditions.csv"),
            pd.read_csv(folder / "costs.csv", dtype={"why": str}, keep_default_na=False),
        )
        n = found.drop_duplicates(["split", "cell_line", "perturbation"])
        text += [f"## {folder.name}", "", f"{found['split'].nunique()} splits, {len(n)} held-out conditions. Gain: of `anchored`, "
                 "paired by condition, 95 % over perturbations, bold clear of 0.", ""]  # fmt: skip
        head = [title for title, _ in UNITS.values()]
        text += [f"| model | {head[0]} | gain | {head[1]} | gain | seconds a split | peak GiB |", "|---" * 7 + "|"]
        wide = found.pivot_table(
            index=["split", "cell_line", "perturbation"], columns=["metric", "model"], values="value"
        )
        cluster, names = pd.factorize(wide.index.get_level_values("perturbation"))
        for model in dict.fromkeys(cost["model"]):
            one, cells = cost[cost["model"] == model], []
            if model not in wide["mse_delta"]:
                text.append(f"| {model} | does not run: {one['why'].iloc[0]} |" + " |" * 5)
                continue
            for metric, (_, unit) in UNITS.items():
                if model not in wide[metric]:  # no change has no correlation
                    cells += ["-", "-"]
                    continue
                a, b = wide[metric][model].to_numpy(), wide[metric]["anchored"].to_numpy()
                gain = (b - a if metric == "pearson_delta" else a - b)[:, None] * unit
                use = np.isfinite(gain[:, 0])
                means = cluster_means(gain[use], cluster[use], cluster_weights(len(names), 2000, 0))
                low, high = (float(x[0]) for x in interval(means.point, means.draws, len(names)))
                point = f"{means.point[0]:+.3f}"
                point = f"**{point}**" if low > 0 or high < 0 else point
                cells += [
                    f"{np.nanmean(a) * unit:.3f}",
                    "" if model == "anchored" else f"{point} [{low:+.3f}, {high:+.3f}]",
                ]
            text.append(
                f"| {model} | " + " | ".join(cells) + f" | {one['seconds'].mean():.1f} | {one['gib'].max():.2f} |"
            )
        text.append("")
    args.out.write_text("\n".join(text).rstrip() + "\n" + NOTES)


def main() -> None:
    """Run one of the three parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    one = parts.add_parser("install")
    one.add_argument("peers", type=Path)
    one.set_defaults(do=install)
    one = parts.add_parser("score")
    one.add_argument("work", type=Path)
    one.add_argument("peers", type=Path)
    one.add_argument("screen", type=Path)
    one.add_argument("--genesets", type=Path, required=True)
    one.add_argument("--splits", type=int, default=3)
    one.add_argument("--run", nargs="*", choices=PACKAGES, default=list(PACKAGES))
    one.add_argument("--steps", type=int, help="epochs or updates of every peer, for a quick look")
    one.add_argument("--seed", type=int, default=0)
    one.set_defaults(do=score)
    one = parts.add_parser("page")
    one.add_argument("work", type=Path)
    one.add_argument("out", type=Path)
    one.set_defaults(do=page)
    args = parser.parse_args()
    args.do(args)


if __name__ == "__main__":
    main()
