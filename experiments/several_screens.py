"""Does another screen help? One command makes docs/results/several-screens.md.

    python experiments/several_screens.py --data ../shared/data --out docs/results/several-screens.md

Every screen alone against the same screen informed by the others (`vc fit A B ...`), on targets that are held out of it and
that the others may know (`--test-targets-in-others known`). Weights are found on training targets only. Differences are paired,
with 95 % intervals by bootstrap over held-out targets. Repeated with the other screen's labels shuffled, where nothing should be
gained. Hidden from the other screens, as is the default, held-out targets get the answer of the screen alone, to the bit.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
from banks import make_vectors
from vc_apps.ask.fit import TrainingData, load
from vc_apps.ask.screens import tell_shared
from vc_data.cli.main import main as vc_data
from vc_data.simulate import SimulatorConfig, simulate
from vc_model.ask.informed import FittedInformed, Informed
from vc_model.contracts import FeatureBank
from vc_model.errors import TableError
from vc_model.models import make_model
from vc_model.table.effects import EffectTable
from vc_model.table.elsewhere import Elsewhere, effects_elsewhere

TOP = 100
SCREENS = {
    "Gasperini": ("gasperini2019_k562_crispri_highmoi", "K562, CRISPRi"),
    "Schraivogel": ("schraivogel2020_k562_crispri_tapseq", "K562, CRISPRi"),
    "McFaline": ("mcfaline2023_gbm_crispri_500g", "three glioblastoma lines, CRISPRi"),
    "Norman": ("norman2019_k562_crispra_500g", "K562, CRISPRa"),
}
Score = Callable[[np.ndarray, np.ndarray], np.ndarray]


def overlap(said_qg: np.ndarray, found_qg: np.ndarray) -> np.ndarray:
    """[q] share of the 100 most up-regulated genes among the 100 predicted most up-regulated."""
    best, true = (np.argpartition(-x, TOP, axis=1)[:, :TOP] for x in (said_qg, found_qg))
    return np.array([len(np.intersect1d(a, b)) / TOP for a, b in zip(best, true, strict=True)])


def pearson(said_qg: np.ndarray, found_qg: np.ndarray) -> np.ndarray:
    """[q] correlation over genes."""
    return np.array([np.corrcoef(a, b)[0, 1] if a.any() and b.any() else 0.0
                     for a, b in zip(said_qg, found_qg, strict=True)])  # fmt: skip


def interval(values: np.ndarray, unit_n: np.ndarray) -> str:
    """Mean and its 95 % interval, bootstrap over targets."""
    unit_n = np.unique(unit_n, return_inverse=True)[1]
    sum_u, n_u = np.bincount(unit_n, weights=values), np.bincount(unit_n)
    draw_du = np.random.default_rng(0).multinomial(len(n_u), np.full(len(n_u), 1 / len(n_u)), 2000)
    low, high = np.quantile((draw_du @ sum_u) / (draw_du @ n_u), [0.025, 0.975])
    return f"{values.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def fit(table: EffectTable, elsewhere: Sequence[Elsewhere]) -> FittedInformed:
    """`anchored`, informed by other screens that may know what is held out."""
    return Informed(make_model("anchored"), tuple(elsewhere), test_targets_known=True).fit(table)


def shuffled(one: Elsewhere) -> Elsewhere:
    """The same effects under the wrong names."""
    order = np.random.default_rng(7).permutation(len(one.targets))
    return replace(one, targets=tuple(one.targets[at] for at in order))


def held_out(own: EffectTable, others: dict[str, EffectTable], n_folds: int, run: int, score: Score,
             truth_pg: np.ndarray | None = None) -> dict[str, Any]:  # fmt: skip
    """Scores of targets that are held out of one screen and known to others, alone, with, and with shuffled labels.

    Args:
        own: The screen.
        others: Name -> the others.
        n_folds: The single targets that any of the others has are dealt into so many folds,
        run: of which so many are held out in turn.
        score: How predictions are judged.
        truth_pg: What they are judged on, where it is not the measured effects.
    """
    sources = [one for name, other in others.items() for one in effects_elsewhere(own, other, name)]
    known = {target for one in sources for target in one.targets}
    targets = sorted({a.targets[0] for a in own.conditions.actions if len(a.targets) == 1} & known)
    order = np.random.default_rng(0).permutation(len(targets))
    fold_of = {targets[at]: place % n_folds for place, at in enumerate(order)}
    rows: dict[str, list] = {"alone": [], "with": [], "shuffled": [], "unit": []}
    weights: dict[str, list[float]] = {one.name: [] for one in sources} | {
        f"{one.name} shuffled": [] for one in sources
    }
    for fold in range(run if len(targets) >= n_folds else 0):
        held_p = np.array([any(fold_of.get(t) == fold for t in a.targets) for a in own.conditions.actions])
        test = np.flatnonzero(held_p & own.single_p)
        train, asked = own.subset(~held_p), own.conditions.subset(test)
        found = [fit(train, sources), fit(train, [shuffled(one) for one in sources])]
        truth = (own.delta_pg if truth_pg is None else truth_pg)[test]
        rows["alone"] += score(found[0].base.predict(asked).delta_pg, truth).tolist()
        for name, fitted in zip(("with", "shuffled"), found, strict=True):
            rows[name] += score(fitted.predict(asked).delta_pg, truth).tolist()
            for source in fitted.sources:
                weights[source.effects.name + (" shuffled" if name == "shuffled" else "")].append(source.weight)
        rows["unit"] += [action.label for action in asked.actions]
    return {key: np.array(values) for key, values in rows.items()} | {"weights": weights}


def row(name: str, measure: str, found: dict[str, Any]) -> str:
    """One line of the table of results."""
    if not len(found["alone"]):
        return f"| {name} | {measure} | 0 | - | too few targets in common | - | - |"
    wrong = interval(found["shuffled"] - found["alone"], found["unit"])
    weights = ", ".join(f"{key} {np.mean(w):.2f}" for key, w in found["weights"].items() if w)
    unit = found["unit"]
    return (f"| {name} | {measure} | {len(set(unit))} | {found['alone'].mean():.3f} | "
            f"{interval(found['with'] - found['alone'], unit)} | {wrong} | "
            f"{weights} |")  # fmt: skip


HEAD = (
    "| screen, with | measure | targets | alone | gain with the others | gain, labels shuffled | weights |\n"
    "|---|---|---|---|---|---|---|"
)


def convert(adata: anndata.AnnData, folder: Path, name: str) -> TrainingData:
    """A screen in memory, converted and loaded."""
    adata.write_h5ad(folder / f"{name}.h5ad")
    if vc_data(["convert", str(folder / f"{name}.h5ad"), str(folder / f"{name}.zarr")]):
        raise SystemExit(f"{name}: was not converted")
    return load(folder / f"{name}.zarr", None, ())


def simulated(data: Path, folder: Path, say: Callable[[str], None]) -> None:
    """Two screens of one world: another line, seven tenths of the genes, nine tenths of the targets each."""
    del data
    config = SimulatorConfig(n_genes=1000, n_singles=100, n_pairs=0, cells_per_condition=50, controls_per_line=600,
                             depth_median=8000.0)  # fmt: skip
    say("## Simulated, against the truth\n\n" + HEAD)
    parts: list[dict[str, Any]] = []
    for seed in (60, 61):
        simulation = simulate(config, seed)
        adata, truth = simulation.adata, simulation.truth.to_df()
        rng = np.random.default_rng(seed)
        label = adata.obs["perturbation"].astype(str)
        targets, data = sorted(set(label) - {"control"}), []
        for line in ("LineA", "LineB"):
            away = set(rng.choice(targets, 10, replace=False))
            cells = ((adata.obs["cell_line"] == line) & ~label.isin(away)).to_numpy()
            genes = np.sort(rng.permutation(adata.n_vars)[:700])
            data.append(convert(adata[cells][:, genes].copy(), folder, f"sim{seed}{line}"))
        own, other = data[0].table, data[1].table
        names = [f"LineA|{action.label}" for action in own.conditions.actions]
        true_pg = truth.loc[names, list(own.genes)].to_numpy()
        parts.append(held_out(own, {"LineB": other}, 5, 2, pearson, true_pg))
    joined = {key: np.concatenate([part[key] for part in parts]) for key in ("alone", "with", "shuffled")}
    joined["unit"] = np.array([f"{at}{unit}" for at, part in enumerate(parts) for unit in part["unit"]])
    joined["weights"] = {key: [w for part in parts for w in part["weights"][key]] for key in parts[0]["weights"]}
    say(row("LineA, with LineB (two worlds)", "Pearson with the truth", joined))


def knockdowns(data: Path, folder: Path, say: Callable[[str], None]) -> None:
    """468 knock-downs in K562 and RPE1 as ranks (Replogle 2022), each line a screen; with the banks of banks.md."""
    ranks = anndata.read_h5ad(data / "ranks/replogle2022_k562_rpe1_top1000_up_ranks.h5ad")
    for line in ("K562", "RPE1"):
        ranks[ranks.obs["cell_line"] == line].copy().write_h5ad(folder / f"{line}.h5ad")
        vc_data(["convert-effects", str(folder / f"{line}.h5ad"), str(folder / f"{line}.zarr"), "--values", "rank_up",
                 "--mode-name", "crispri"])  # fmt: skip
    tables = {line: load(folder / f"{line}.zarr", None, ()).table for line in ("K562", "RPE1")}
    targets = sorted({a.label for table in tables.values() for a in table.conditions.actions})
    banks = [FeatureBank(name, tuple(targets), vector_tk.astype(np.float32), ~vector_tk.any(axis=1))
             for name, vector_tk in make_vectors(data, targets).items()]  # fmt: skip
    say("## Knock-downs of the same genes in K562 and RPE1, as ranks\n\n" + HEAD)
    for own, other in (("K562", "RPE1"), ("RPE1", "K562")):
        table = replace(tables[own], bank=banks[0], more_banks=tuple(banks[1:]))
        found = held_out(table, {other: tables[other]}, 10, 10, overlap)
        say(row(f"{own}, with {other}", f"overlap@{TOP}", found))


def single_cells(data: Path, folder: Path, say: Callable[[str], None]) -> None:
    """Every real screen at hand with the three others."""
    loaded = {
        name: convert(anndata.read_h5ad(data / "single_cell" / f"{file}.h5ad"), folder, name)
        for name, (file, _) in SCREENS.items()
    }
    say("## Screens of single cells\n\nWhat they have in common:\n")
    partners: dict[str, dict[str, EffectTable]] = {name: {} for name in loaded}
    for a, b in itertools.permutations(loaded, 2):
        try:
            (one,) = effects_elsewhere(loaded[a].table, loaded[b].table, b)
            partners[a][b] = loaded[b].table
            say(f"- {a} ({SCREENS[a][1]}) with {tell_shared(loaded[a], one)}")
        except TableError as error:
            say(f"- {a} ({SCREENS[a][1]}) with {b}: refused ({str(error).split('. Fit')[0]})")
    say("\nAlone against all together, each target in common held out once:\n\n" + HEAD)
    for name, others in partners.items():
        found = held_out(loaded[name].table, others, 5, 5, pearson)
        say(row(f"{name}, with {', '.join(others)}", "Pearson with the measured effect", found))


PARTS = {"single cells": single_cells, "simulated": simulated, "knock-downs": knockdowns}


def main() -> None:
    """Run the parts and write the page; sections of parts that are not run again stay."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/several-screens.md"))
    parser.add_argument("--part", nargs="*", choices=list(PARTS), default=list(PARTS))
    args = parser.parse_args()
    head = "# Several screens at once\n\nMade by `python experiments/several_screens.py`. " + __doc__.split("\n\n")[2]
    kept = args.out.read_text().split("\n## ") if args.out.exists() else []
    sections = {text.split("\n", 1)[0]: text for text in kept[1:]}

    def say(text: str) -> None:
        print(text, flush=True)
        title, content = text.split("\n", 1) if text.startswith("## ") else (said[-1], text)
        said.append(title)
        key = title.removeprefix("## ")
        sections[key] = f"{key}\n{content}\n" if text.startswith("## ") else f"{sections[key]}{content}\n"
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text("\n## ".join([head.rstrip() + "\n", *sections.values()]))

    said: list[str] = [""]
    for part in args.part:
        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            PARTS[part](args.data, Path(folder), say)
        say(f"\n{time.process_time() - start:.0f} seconds of one core.")


if __name__ == "__main__":
    main()
