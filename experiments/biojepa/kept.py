"""Screens with their banks, and the scores of a run as they are kept for the page."""

import json
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from vc_data.convert.run import convert
from vc_data.options import ConvertOptions
from vc_data.screen.file import read_screen
from vc_data.simulate import PRESETS, SimulatorConfig, write_simulation
from vc_eval.stats.conditions import SplitScores
from vc_eval.stats.summary import paired_differences, summarise
from vc_featurize.bank import write_features
from vc_featurize.geneset import geneset_features

METRICS = {
    "pearson_delta": ("Pearson delta", 1),
    "mse_delta": ("MSE delta x 1000", 1000),
    "r2_top50_test_delta": ("R2 top 50", 1),
    "centroid_accuracy": ("centroid acc.", 1),
    "vcc2025/des": ("DES", 1),
    "vcc2025/pds": ("PDS", 1),
    "calibration/spearman": ("Spearman of predicted error", 1),
}
N_BOOT = 2000


def prepare(source: str, genesets: Path | None, folder: Path) -> tuple[Path, Path | None]:
    """The screen, and a bank of gene sets of its targets."""
    if source.startswith("simulated:"):
        return simulate(PRESETS[source.split(":")[1]], 0, folder, name_of(source))
    options = ConvertOptions(dataset=name_of(source), seed=0)
    screen_fpath = convert(Path(source), folder / "screen.zarr", options).path
    return screen_fpath, None if genesets is None else describe_targets(screen_fpath, genesets)


def simulate(config: SimulatorConfig, world_seed: int, folder: Path, name: str) -> tuple[Path, Path]:
    """A simulated screen and the bank of its gene sets."""
    write_simulation(config, world_seed, folder / "simulated")
    options = ConvertOptions(dataset=name, seed=0)
    screen_fpath = convert(folder / "simulated" / "screen.h5ad", folder / "screen.zarr", options).path
    return screen_fpath, describe_targets(screen_fpath, folder / "simulated" / "pathways.gmt")


def describe_targets(screen_fpath: Path, genesets: Path) -> Path:
    """The bank of gene sets of a screen's targets, beside the screen."""
    labels = read_screen(screen_fpath).obs["target"].astype(str).unique()
    targets = sorted({target for label in labels for target in label.split("+")} - {"control"})
    return write_features(screen_fpath.with_name("features.zarr"), geneset_features(genesets, targets), config={})


def name_of(source: str) -> str:
    """Name of the data in titles and file names."""
    return source.replace(":", "-") if source.startswith("simulated:") else Path(source).stem


def keep(
    folder: Path, name: str, scored: list[SplitScores], baselines: list[str], models, against: list[str], facts, started
) -> None:
    """Write the tables of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    summary = summarise(scored, baselines=baselines, seed=0, n_boot=N_BOOT)
    paired = paired_differences(
        scored, models=list(models), baselines=against, metrics=[m for m in METRICS if "/spearman" not in m], seed=0
    )
    commit = _git("rev-parse", "--short", "HEAD")
    commit += " with local changes" if _git("diff", "HEAD", "--stat", "--", "experiments", "packages", "apps") else ""
    facts |= {
        "models": list(models),
        "baselines": baselines,
        "splits": len(scored),
        "command": shlex.join(["uv", "run", "python", "experiments/biojepa/quality.py", *sys.argv[1:]]),
        "commit": commit,
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "minutes": (time.time() - started) / 60,
    }
    summary[summary["group"].isin(["all", "single", "combo"])].to_parquet(folder / f"{name}.summary.parquet")
    paired.to_parquet(folder / f"{name}.paired.parquet")
    (folder / f"{name}.json").write_text(json.dumps(facts))
    print(f"kept {folder / name}: {facts['minutes']:.1f} minutes")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()
