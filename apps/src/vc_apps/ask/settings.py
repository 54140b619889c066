"""What a user can set for `vc fit`, `vc predict` and `vc support`. Light to import, so that `--help` answers at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

Mode = Literal[
    "crispri", "crispra", "overexpression", "knockout", "inhibitor", "agonist", "degrader", "binder", "unknown"
]
Output = Annotated[Path, tyro.conf.arg(aliases=["-o"])]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Fit a model to ask: on everything that a screen measured, or with --split on its training conditions.

    With several screens, each gets a model over its own genes, informed by the effects of the same targets in the others as
    far as that proved to help while targets were held out. Questions go to the first, or to the one that has the cell line.

    For example:
      vc fit screen.zarr -o model
      vc fit mine.zarr published.zarr -o model
      vc fit screen.zarr -o model --bank genesets.zarr --bank esm2.zarr
      vc fit screen.zarr -o model --split splits.json
      vc fit screen.zarr -o model --plugin my_model.py
    """

    screen: tyro.conf.Positional[tuple[Path, ...]]
    """A screen-v1 file, as `vc-data convert` writes it, or effects-v1 of `vc-data convert-effects`; up to eight of them."""
    out: Output
    """The model folder to write: checkpoint-v1, with what answers need to know of the screen."""
    split: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """A splits-v1 file of the screen, or of one of them; may be given several times. Without it nothing is held out."""
    weight: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=SHARE: how far the screen of this name informs the others, 0 to 1; by default what it was worth out of fold."""
    test_targets_in_others: Literal["hidden", "known"] = "hidden"
    """Whether other screens may know targets that a split holds out wherever they were perturbed. Stated in the model and in
    its predictions."""
    bank: Annotated[tyro.conf.UseAppendAction[tuple[Path, ...]], tyro.conf.arg(aliases=["--features"])] = ()
    """A features-v1 bank of the targets; may be given several times."""
    model: str = "anchored"
    """Any name of `vc-model list`, or biojepa (with --split; the same as `vc train biojepa`)."""
    plugin: Path | None = None
    """A Python file with a class that has `fit` and `predict`, fitted in place of --model."""
    member: bool = False
    """Stack the plugin with --model instead, by what each was worth out of fold."""
    min_cells: int = 20
    """Conditions with fewer cells are left out (without --split)."""
    seed: int = 0
    """The one seed of everything."""
    overwrite: bool = False
    """Replace a model that stands at --out."""
    dry_run: bool = False
    """Say what would be fitted, and write nothing."""


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Ask a model what perturbations do, or predict a part of a split.

    Writes a folder: predictions.h5ad (predictions-v1), answers.tsv and answers.parquet with the verdict (`support`) before
    the numbers, genes.parquet. Conditions that training says too little about are listed without numbers; --force shows
    the extrapolation. With --part, --screen and --split: one predictions-v1 file of the held-out conditions.

    For example:
      vc predict model --genes TP53 MYC+KLF1 --mode crispri --cell-line K562 -o answers
      vc predict model --genes-file genes.txt -o answers
      vc predict model --all-genes -o genome
      vc predict model --like pert_counts.csv -o challenge
      vc predict model --genes TP53 --cells my_controls.h5ad -o mine
      vc predict model --compounds smiles.tsv --dose 1 10 -o drugs
      vc predict model screen.zarr splits.json --part test -o predictions.zarr
    """

    model: tyro.conf.Positional[Path]
    """A model folder, as `vc fit` writes it; for --part any checkpoint-v1."""
    screen: tyro.conf.Positional[Path | None] = None
    """For --part: the screen-v1 file; only its control cells are read."""
    splits: tyro.conf.Positional[Path | None] = None
    """For --part: the splits-v1 file of that screen."""
    out: Output
    """The folder to write; for --part the predictions-v1 file, .zarr or .h5ad."""
    genes: tuple[str, ...] = ()
    """Targets; combinations of up to four as MYC+KLF1, doses as DRUG@10."""
    genes_file: Path | None = None
    """A file with one name a line, or a .csv or .tsv with a column of names."""
    compounds: Path | None = None
    """A .tsv of compounds: columns name and smiles. New ones are encoded as the bank was that the model was fitted with."""
    all_genes: bool = False
    """Every gene that the model measures, and every target it was trained on."""
    like: Path | None = None
    """A .csv that lists perturbations in a column target_gene, as the challenge's pert_counts.csv."""
    mode: Mode | None = None
    """How they act; the trained mode where there is only one."""
    cell_line: tuple[str, ...] = ()
    """Cell lines; all trained ones by default."""
    dose: tuple[float, ...] = ()
    """Doses of compounds."""
    cells: Path | None = None
    """Unperturbed cells of a new context: a screen-v1, or an .h5ad with raw counts."""
    cells_line: str | None = None
    """obs column of an .h5ad given as --cells that holds the cell line; by default the file is one context, by its name."""
    cells_symbol: str | None = None
    """var column of that file that names genes as the model does; by default the index."""
    part: Literal["test", "val", "train"] | None = None
    """Predict this part of a split instead."""
    force: bool = False
    """Give numbers of extrapolations, too."""
    limit: float = 0.1
    """No numbers where such conditions reached less of what repeating the experiment would give."""
    top: int = 10
    """Genes that are named up, and down."""
    change: float | None = None
    """Effect from which on a gene counts as changed; default: 0.1 for log1p CP10k and log fold changes, 2 for z-scores, 0.37 (a
    place among the first 200) for ranks."""
    plugin: Path | None = None
    """The file of a user's own model, for a model that was fitted with one."""
    json: bool = False
    """Print the answers as JSON, too."""
    report: bool = False
    """Write report.html beside the tables; for at most 2,000 conditions."""
    overwrite: bool = False
    """Replace answers that stand at --out."""
    dry_run: bool = False
    """Check the questions and say how many would be answered, and write nothing."""


@dataclass(frozen=True, kw_only=True)
class Support:
    """Say what a model knows of genes in contexts: seen here, seen elsewhere, a relative seen, nowhere.

    For example:
      vc support model
      vc support model --genes TP53 MYC
      vc support model -o support.png
      vc support model -o support.tsv
    """

    model: tyro.conf.Positional[Path]
    """A model folder, as `vc fit` writes it."""
    genes: tuple[str, ...] = ()
    """Targets; all that the model measures or was trained on by default."""
    genes_file: Path | None = None
    """A file with one name a line."""
    mode: Mode | None = None
    """Only perturbations of this mode count as seen."""
    cell_line: tuple[str, ...] = ()
    """Contexts; all by default."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """A .tsv for the map as a table, or a .png, .svg or .pdf for a figure."""
    json: bool = False
    """Print as JSON."""
    plugin: Path | None = None
    """The file of a user's own model."""
    overwrite: bool = False
    """Replace --out."""
