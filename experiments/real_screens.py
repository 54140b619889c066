"""Run `vc quickstart` on every real single-cell screen and write the tables of results as one page of docs/log.

    uv run python experiments/real_screens.py ../shared/data/single_cell docs/log/real-screens.md

Every number comes from the run's own scores.parquet; nothing is chosen or left out by its value.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from vc_apps.cli import main as vc
from vc_eval.contracts import read_scores

SCREENS = {
    "norman2019_k562_crispra_500g": ["--repeats", "10"],
    "mcfaline2023_gbm_crispri_500g": ["--repeats", "10"],
    "gasperini2019_k562_crispri_highmoi": ["--repeats", "5"],
    "schraivogel2020_k562_crispri_tapseq": ["--repeats", "5"],
    "datlinger2021_jurkat_crisprko_tcrstim": ["--repeats", "5", "--cell-line", "cell_line,stimulation"],
    "kang2018_pbmc_ifnb": [],
    "zhao2021_glioblastoma_panobinostat": [],
}
METRICS = {
    "pearson_delta": "Pearson delta",
    "mse_delta": "MSE delta x 1000",
    "r2_top50_delta": "R2 top 50",
    "centroid_accuracy": "centroid acc.",
    "vcc2025/des": "DES",
    "vcc2025/pds": "PDS",
    "vcc2025/mae": "MAE x 1000",
    "vcc2025/overall": "VCC score",
}
SCALE = {"mse_delta": 1000, "vcc2025/mae": 1000}


def run_screen(fpath: Path, flags: list[str], out: Path) -> tuple:
    """Scores, the first split and the seconds of one `vc quickstart`."""
    start = time.perf_counter()
    code = vc(["quickstart", "--data", str(fpath), *flags, "--out", str(out)])
    if code:
        raise SystemExit(f"{fpath.name}: vc quickstart ended with {code}")
    return read_scores(out)[0], json.loads((out / "splits" / "split-0.json").read_text()), time.perf_counter() - start


def table(scores) -> list[str]:
    """One row per model: its value and interval under every metric."""
    overall = scores[scores["group"] == "all"]
    models = [
        "anchored",
        *sorted(set(overall["model"]) - {"anchored", "split_half", "split_half_sb", "interpolated_duplicate"}),
    ]
    lines = ["| model | " + " | ".join(METRICS.values()) + " |", "|---" * (len(METRICS) + 1) + "|"]
    for model in [*models, "interpolated_duplicate", "split_half"]:
        own = overall[overall["model"] == model].set_index("metric")
        cells = [cell(own.loc[name], SCALE.get(name, 1)) if name in own.index else "" for name in METRICS]
        lines.append(f"| {'**anchored**' if model == 'anchored' else model} | " + " | ".join(cells) + " |")
    return lines


def cell(row, scale: float) -> str:
    """A value with its interval."""
    if row["value"] != row["value"]:
        return "-"
    return f"{row['value'] * scale:.3f} [{row['lower'] * scale:.3f}, {row['upper'] * scale:.3f}]"


def beats(scores) -> str:
    """How often `anchored` has the smaller error, against each baseline."""
    own = scores[
        (scores["group"] == "all") & (scores["model"] == "anchored") & scores["metric"].str.startswith("beat/")
    ]
    parts = [f"{r.metric[5:]} {r.value:.2f} [{r.lower:.2f}, {r.upper:.2f}]" for r in own.itertuples()]
    return "Share of conditions on which `anchored` has the smaller MSE: " + "; ".join(parts) + "."


def main() -> None:
    """Run every screen and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("page", type=Path)
    parser.add_argument("--only", nargs="*", default=list(SCREENS))
    args = parser.parse_args()
    text = [
        "# Real screens: the model, every baseline and the ceiling",
        "",
        "Held-out conditions of real screens, scored by `vc quickstart`. Values are means over held-out conditions with 95 %",
        "intervals (bootstrap over perturbations). Several random splits are pooled; where the split is by context, every",
        "context is held out once. `split_half` is one half of the measured test cells predicting the other half.",
        "Made by `uv run python experiments/real_screens.py ../shared/data/single_cell docs/log/real-screens.md`.",
        "",
    ]
    for name in args.only:
        with tempfile.TemporaryDirectory() as folder:
            scores, split, seconds = run_screen(args.data / f"{name}.h5ad", SCREENS[name], Path(folder) / "run")
        n = int(scores.loc[(scores["group"] == "all") & (scores["model"] == "anchored"), "n"].max())
        parts = [c["part"] for c in split["conditions"]]
        flags = " ".join(["vc quickstart --data", f"{name}.h5ad", *SCREENS[name]])
        text += [
            f"## {name}",
            "",
            f"`{flags}`: {split['recipe']}; first split: {parts.count('train')} train, {parts.count('test')} test, "
            f"{parts.count('unused')} unused conditions; {n} held-out conditions scored in all; {seconds:.0f} s.",
            "",
            *table(scores),
            "",
            beats(scores),
            "",
        ]
        args.page.write_text("\n".join(text))
        print(f"{name}: {seconds:.0f} s")


if __name__ == "__main__":
    main()
