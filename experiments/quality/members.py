"""Whether 90 % intervals of `anchored` hold by how much of a condition is known: pairs by unseen members, and a line left out.

    uv run python experiments/quality/members.py all run/members docs/results/intervals-by-knowledge.md
    uv run python experiments/quality/members.py scores run/members pairs --world-seed 60
    uv run python experiments/quality/members.py page run/members docs/results/intervals-by-knowledge.md

A member of a combination is unseen where no training action, alone or in a combination, has it. `pairs` and `lines` are simulated
worlds: one line with many pairs, a quarter of the perturbations held out; and four lines, each held out in turn. Everything else is as
in `intervals.py`, whose rows these are.
"""

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import anndata
import numpy as np
import pandas as pd
from command import KEYS, run_parts, share
from fair import SCREENS
from intervals import LEVEL, TARGETS, covered
from sources import tables_of
from vc_data.simulate import SimulatorConfig, write_simulation
from vc_model.anchored import Anchored

_WORLD = replace(SimulatorConfig(), n_genes=600, n_pathways=20, controls_per_line=600)
WORLDS = {
    "pairs": replace(_WORLD, n_singles=60, n_pairs=40, cell_lines=("LineA",)),
    "lines": replace(_WORLD, n_singles=36, n_pairs=0, cell_lines=("LineA", "LineB", "LineC", "LineD")),
}
SPLITS = {"pairs": 4, "lines": 4}
SEEDS = (60, 61, 62)  # no choice was made on these
STRATA = ("all", "quarter 4", "30 largest", "next 100")
NORMAN = "norman2019_k562_crispra_500g"


def scores(folder: Path, name: str, splits: int, seed: int) -> None:
    """Fit on every split and keep what is covered, with the kind of every condition; one parquet."""
    frames = []
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        world = name in WORLDS
        kind, recipe = ("", "by_cell_line" if name == "lines" else "by_perturbation") if world else SCREENS[name]
        if world:
            write_simulation(WORLDS[name], seed, place / "sim")
        source = str(place / "sim" / "screen.h5ad") if world else f"../shared/data/{kind}/{name}.h5ad"
        asked = SimpleNamespace(
            genesets=place / "sim" / "pathways.gmt" if world else None, cell_line=None, recipe=recipe, splits=splits,
            test=0.25, min_cells=20, world_seed=seed,
        )  # fmt: skip
        truth = anndata.read_h5ad(place / "sim" / "truth.h5ad") if world else None
        for at, (train, test, truths) in enumerate(tables_of(source, asked, place)):
            if at >= splits:
                break
            kind_of = dict(zip(zip(test.cell_line, test.perturbation, strict=True), kinds(train, test), strict=True))
            said = Anchored().fit(train).predict(test)
            wide = pd.DataFrame(
                {"cell_line": test.cell_line, "perturbation": test.perturbation, "stratum": "all", "infinite": True}
            )
            wide = wide[np.isinf(said.conformal.width(said.table_p, LEVEL))]
            rows = [covered(said, test, train.genes, one, truth).assign(infinite=False) for one in truths]
            found = pd.concat([*rows, wide]).assign(split=f"{at}/{seed}")
            pairs = zip(found["cell_line"], found["perturbation"], strict=True)
            frames.append(found.assign(kind=[kind_of[pair] for pair in pairs]))
            print(name, seed, at, len(train), len(test), flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat(frames).assign(screen=name).to_parquet(folder / f"{name}-{seed}.parquet")


def kinds(train, test) -> list[str]:
    """What training knows of each condition, in words."""
    touched = {target for action in train.conditions.actions for target in action.targets}
    found = []
    for line, action in zip(test.cell_line.tolist(), test.actions, strict=True):
        unseen = sum(target not in touched for target in action.targets)
        size = {1: "single", 2: "pair"}.get(len(action.targets), "more")
        place = "" if line in train.trained_lines else "new line, "
        found.append(f"{place}{size}, {unseen} unseen")
    return found


def page(folder: Path) -> str:
    """One table of what is covered, by screen and by what is known."""
    rows = pd.concat([pd.read_parquet(fpath) for fpath in sorted(folder.glob("*.parquet"))])
    text = []
    for target in ("measured", "free"):
        head = ["screen", "kind", "conditions", *STRATA, "infinitely wide"]
        text += [f"### Covered: {TARGETS[target]}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for (screen, kind), part in rows.groupby(["screen", "kind"], sort=True):
            if part[target].notna().any():
                wide = part.groupby(KEYS)["infinite"].first()
                cells = [share(part[part["stratum"] == stratum], target, LEVEL) for stratum in STRATA]
                cells = [screen.split("_")[0], kind, str(len(wide)), *cells, f"{wide.mean():.2f}"]
                text.append("| " + " | ".join(cells) + " |")
        text.append("")
    return "\n".join(text)


def main() -> None:
    """Run one of the parts."""
    worlds = [(name, SPLITS[name], seed) for name in WORLDS for seed in SEEDS]
    run_parts(__doc__, 4, scores, [(NORMAN, 4, 0), *worlds], page, "\n### ")


if __name__ == "__main__":
    main()
