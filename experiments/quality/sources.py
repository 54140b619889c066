"""What a screen is made of here: its conversion, features and splits, as training tables, held-out conditions and truths."""

import argparse
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import profiles
from vc_data import split as splitting
from vc_data.convert.run import convert
from vc_data.options import Columns, ConvertOptions
from vc_data.screen.file import read_screen as read_source
from vc_data.simulate import PRESETS, SimulatorConfig, write_simulation
from vc_eval.contracts import read_screen, read_splits
from vc_eval.split.truth import make_truth, measured_genes, test_lines
from vc_featurize.bank import write_features
from vc_featurize.compound import compound_features
from vc_featurize.geneset import geneset_features
from vc_model.table.effects import Conditions
from vc_model.table.pseudobulk import load_tables


def tables_of(source: str, args: argparse.Namespace, folder: Path):
    """Yield the training table, the held-out conditions and their truths of every split."""
    if profiles.is_known(source):
        yield from profiles.tables(Path(source), args.splits, args.test)
        return
    screen_fpath, features_fpath, fpaths = prepare(source, folder, args)
    screen = read_screen(screen_fpath)
    genes = measured_genes(screen)
    for fpath in fpaths:
        train, _, test = load_tables(screen_fpath, fpath, features_fpath)
        splits = read_splits(fpath, screen)
        yield train, test, [make_truth(screen, splits, line, genes) for line in test_lines(splits)]


def prepare(source: str, folder: Path, args: argparse.Namespace) -> tuple[Path, Path | None, list[Path]]:
    """Convert the screen, make features where there are gene sets, and write the splits."""
    genesets = args.genesets
    if source.startswith("simulated:"):
        write_simulation(simulator_config(source), args.world_seed, folder / "simulated")
        fpath, genesets = folder / "simulated" / "screen.h5ad", genesets or folder / "simulated" / "pathways.gmt"
    else:
        fpath = Path(source)
    options = ConvertOptions(columns=Columns(cell_line=args.cell_line), dataset=name_of(source), seed=0)
    screen_fpath = convert(fpath, folder / "screen.zarr", options).path
    screen = read_source(screen_fpath)
    features_fpath, structures = None, {}
    if args.recipe == "by_scaffold":
        structures = profiles.read_smiles(anndata.read_h5ad(fpath, backed="r").obs)
        bank = compound_features(list(structures), list(structures.values()))
        features_fpath = write_features(folder / "features.zarr", bank, config={})
    elif genesets is not None:
        labels = screen.obs["target"].astype(str).unique()
        targets = sorted({target for label in labels for target in label.split("+")} - {"control"})
        features_fpath = write_features(folder / "features.zarr", geneset_features(genesets, targets), config={})
    perturbed = screen.obs[~screen.obs["is_control"]]
    # Where these are held out, each is held out once.
    lines, doses = sorted(set(perturbed["cell_line"].astype(str))), sorted(set(perturbed["dose"].dropna()))
    fpaths = []
    for seed in range({"by_cell_line": len(lines), "by_dose": len(doses)}.get(args.recipe, args.splits)):
        if args.recipe == "by_cell_line":
            made = splitting.by_cell_line(screen, test_lines=[lines[seed]], seed=seed)
        elif args.recipe == "by_dose":
            made = splitting.by_dose(screen, seed=seed, doses=[doses[seed]], min_cells=args.min_cells)
        elif args.recipe == "by_scaffold":
            made = splitting.by_scaffold(screen, structures, seed=seed, test=args.test, min_cells=args.min_cells)
        else:
            made = splitting.by_perturbation(screen, seed=seed, test=args.test, min_cells=args.min_cells)
        fpaths.append(folder / f"split-{seed}.json")
        splitting.write_splits(made, fpaths[-1], parents={})
    return screen_fpath, features_fpath, fpaths


def simulator_config(source: str) -> SimulatorConfig:
    """The screen that `simulated:PRESET` or `simulated:PRESET:DIFFICULTY` names."""
    _, preset, *difficulty = source.split(":")
    config = PRESETS[preset]
    return replace(config, difficulty=difficulty[0]) if difficulty else config


def name_of(source: str) -> str:
    """Name of the data in titles and file names."""
    return source.replace(":", "-") if source.startswith("simulated:") else Path(source).stem


def shuffle_labels(train, seed: int):
    """The same effects under each other's names, within cell line and number of targets."""
    rng = np.random.default_rng(seed)
    actions = np.array(train.conditions.actions, dtype=object)
    kind = np.char.add(train.conditions.cell_line.astype(str), train.conditions.sizes.astype(str))
    for value in np.unique(kind):
        rows = np.flatnonzero(kind == value)
        actions[rows] = actions[rng.permutation(rows)]
    conditions = Conditions(train.conditions.cell_line, tuple(actions), train.contexts)
    return replace(train, conditions=conditions)
