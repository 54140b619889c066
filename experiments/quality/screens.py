"""Does our model lose to anything? Every baseline, the ablation ladder, a null run and the ceiling, on many splits.

    uv run python experiments/quality/screens.py ../shared/data/single_cell/norman2019_k562_crispra_500g.h5ad docs/log
    uv run python experiments/quality/screens.py ../shared/data/single_cell/kang2018_pbmc_ifnb.h5ad docs/log --recipe by_cell_line
    uv run python experiments/quality/screens.py ../shared/data/single_cell/srivatsan2020_a549_dexamethasone.h5ad docs/log --recipe by_dose
    uv run python experiments/quality/screens.py simulated:small:hard docs/log --world-seed 1
    uv run python experiments/quality/screens.py ../shared/data/bulk_and_de/macpie_drugseq_mcf10a_1000g.h5ad docs/log --recipe by_scaffold

Files of profiles that are no counts (L1000) are read by `profiles.py`, which knows their spaces. Each split holds out perturbations (or one cell line, or one dose, after the other); all models see the same training conditions. The
model runs with several seeds, whose scores are averaged condition by condition. Differences are paired by condition and
resampled by perturbation. Nothing is chosen by its value: every baseline and every metric below is on the page.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small decompositions wait for threads longer than they work

import anndata
import pandas as pd
import profiles
from ladder import fit_all
from page import page, summary
from scoring import score, score_references
from sources import name_of, tables_of
from tqdm import tqdm
from vc_model.baselines import BASELINES, effect_factories
from vc_model.table.validation import out_of_fold_scores


def run(source: str, args: argparse.Namespace) -> tuple[pd.DataFrame, dict]:
    """Scores of every model on every split, and facts about the run."""
    scores, seconds, sizes, validation, started = [], [], [], [], time.time()
    commit = _git("rev-parse", "--short", "HEAD")
    commit += " with local changes" if _git("diff", "HEAD", "--stat", "--", "experiments", "packages") else ""
    with tempfile.TemporaryDirectory() as name:
        effects = None
        for at, (train, test, truths) in enumerate(tqdm(tables_of(source, args, Path(name)), desc=name_of(source))):
            if source.startswith("simulated:"):
                effects = anndata.read_h5ad(Path(name) / "simulated" / "truth.h5ad")
            sizes.append((len(train), len(test)))
            validation.append(out_of_fold_scores(train, test, effect_factories(list(BASELINES))))
            for model, seed, fitted, cpu in fit_all(train, args.seeds, args.short):
                frame = score(fitted.predict(test), test, train.genes, truths)
                scores.append(frame.assign(split=at, model=model, seed=seed))
                seconds.append((model, cpu))
            scores += [frame.assign(split=at, seed=0) for frame in score_references(truths, effects)]
        scores = pd.concat(scores, ignore_index=True)
        if effects is not None:
            synergy = effects.obs["synergy"].astype(float)
            scores["synergy"] = (scores["cell_line"] + "|" + scores["perturbation"]).map(synergy)
    facts = {
        "sizes": sizes,
        "genes": len(train.genes),
        "seconds": pd.DataFrame(seconds, columns=["model", "cpu"]).groupby("model")["cpu"].mean().to_dict(),
        "shuffled": bool((pd.Series(train.conditions.cell_line).value_counts() > 1).any()),
        "validation": (sum(validation) / len(validation)).to_dict(),
        "space": profiles.space_of(source),
        "seeds": args.seeds,
        "command": shlex.join(["uv", "run", "python", "experiments/quality/screens.py", *_argv()]),
        "commit": commit,
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "minutes": (time.time() - started) / 60,
    }
    return scores, facts


def _argv() -> list[str]:
    """The arguments as given, without where the scores were kept."""
    given = sys.argv[1:]
    if "--keep" in given:
        at = given.index("--keep")
        del given[at : at + 2]
    return given


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    """Run one screen and write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="an .h5ad with raw counts, or simulated:PRESET[:DIFFICULTY]")
    parser.add_argument("folder", type=Path, help="where the page goes: quality-NAME.md")
    parser.add_argument(
        "--recipe", choices=["by_perturbation", "by_cell_line", "by_dose", "by_scaffold"], default="by_perturbation"
    )
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", type=float, default=0.25)
    parser.add_argument("--cell-line", default=None, help="column(s) of the cell line, as for `vc quickstart`")
    parser.add_argument("--genesets", type=Path, default=None)
    parser.add_argument("--keep", type=Path, default=None, help="a folder for the scores of every condition")
    parser.add_argument("--render", action="store_true", help="make the page of the scores in --keep again")
    parser.add_argument("--short", action="store_true", help="only the first and the last step of the ladder")
    parser.add_argument("--min-cells", type=int, default=20, help="conditions with fewer cells are left out")
    parser.add_argument("--world-seed", type=int, default=0, help="which world is simulated")
    args = parser.parse_args()
    kept = None if args.keep is None else args.keep / name_of(args.source)
    if args.render:
        scores, facts = pd.read_parquet(f"{kept}.parquet"), json.loads(Path(f"{kept}.json").read_text())
    else:
        scores, facts = run(args.source, args)
        if kept is not None:
            args.keep.mkdir(parents=True, exist_ok=True)
            scores.to_parquet(f"{kept}.parquet")
            Path(f"{kept}.json").write_text(json.dumps(facts))
    args.folder.mkdir(parents=True, exist_ok=True)
    target = args.folder / f"quality-{name_of(args.source)}.md"
    target.write_text(page(args.source, scores, facts))
    print(f"wrote {target}\n{summary(args.folder)}")


if __name__ == "__main__":
    main()
