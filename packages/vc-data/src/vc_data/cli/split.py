"""The commands `vc-data split` and `vc-data check`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import tyro

from vc_data.errors import OptionError, SourceError, few

if TYPE_CHECKING:
    from vc_data.split.file import Splits

Screen = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SCREEN.zarr")]
Recipe = Literal[
    "by_perturbation", "kfold", "follow", "by_cell_line", "few_shot", "gears", "cell_load", "by_scaffold", "by_dose", "named"
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """Settings of all recipes; each reads its own."""

    recipe: Recipe = "by_perturbation"
    """by_perturbation: targets; kfold: one fold of them; follow: as in other screens; by_cell_line: whole lines; few_shot:
    one line with few perturbations; gears: GEARS' simulation split; cell_load: a TOML file of cell-load; by_scaffold:
    compounds by structure; by_dose: one dose of each compound; named: what --hold-out names."""
    hold_out: tuple[str, ...] = ()
    """named: targets, combinations (MYC+KLF1) or labels to test, in every cell line; LINE|NAME for one line."""
    hold_out_val: tuple[str, ...] = ()
    """named: the same, for validation."""
    seed: int = 0
    """Same seed, same split."""
    min_cells: int = 20
    """Conditions with fewer cells are unused."""
    test: float = 0.25
    """by_perturbation, by_scaffold: share of targets for testing. by_cell_line without --test-lines: share of lines."""
    val: float = 0.0
    """by_perturbation, by_scaffold: share of targets for validation. kfold: above 0, the next fold validates."""
    fold: int = 0
    """kfold: the fold for testing."""
    folds: int = 5
    """kfold: how many."""
    groups: Path | None = None
    """kfold: table (TSV: target, group) of complexes or paralogues that stay together."""
    others: tuple[Path, ...] = ()
    """kfold: the other screens of the corpus. follow: SCREEN SPLITS SCREEN SPLITS ... to follow."""
    test_lines: tuple[str, ...] = ()
    """by_cell_line: lines for testing."""
    val_lines: tuple[str, ...] = ()
    """by_cell_line: lines for validation."""
    unseen: float = 0.0
    """by_cell_line: share of the tested lines' targets that no other line trains on either."""
    cell_line: str | None = None
    """few_shot: the line."""
    n_train: int = 150
    """few_shot: targets of the line in training."""
    n_val: int = 50
    """few_shot: targets of the line in validation."""
    n_test: int = 100
    """few_shot: targets of the line in testing."""
    names: Path | None = None
    """gears: conditions as the reference spells them, one a line; needed to repeat a published split of pairs."""
    toml: Path | None = None
    """cell_load: the TOML file."""
    toml_dataset: str | None = None
    """cell_load: which data set of it this screen is."""
    allow_absent: bool = False
    """cell_load: the file may name cell types and perturbations that the screen lacks."""
    structures: Path | None = None
    """by_scaffold: table (TSV, CSV, .gz) with a column smiles and names of compounds."""
    doses: tuple[str, ...] = ("random",)
    """by_dose: highest, lowest, random, or doses in the screen's unit."""


def split(
    screen: Screen,
    output: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SPLITS.json")],
    options: Annotated[SplitOptions, tyro.conf.arg(name="")] = SplitOptions(),
    overwrite: bool = False,
) -> None:
    """Decide what is held out (splits-v1, JSON).

    For example:
      vc-data split k562.zarr splits.json --test 0.25 --val 0.1
      vc-data split k562.zarr fold0.json --recipe kfold --fold 0 --others rpe1.zarr
      vc-data split activation.zarr a.json --recipe follow --others k562.zarr splits.json
      vc-data split lines.zarr splits.json --recipe by_cell_line --test-lines HepG2 --unseen 0.2
      vc-data split lines.zarr splits.json --recipe few_shot --cell-line H1
      vc-data split norman.zarr splits.json --recipe gears --seed 1 --names gears_conditions.txt
      vc-data split lines.zarr splits.json --recipe cell_load --toml fewshot.toml
      vc-data split drugs.zarr splits.json --recipe by_scaffold --structures smiles.tsv.gz
      vc-data split drugs.zarr splits.json --recipe by_dose --doses highest
      vc-data split k562.zarr splits.json --recipe named --hold-out TP53 MYC+KLF1 "K562|GATA1"

    Args:
        screen: The screen.
        output: The JSON file to write.
        options: What to hold out.
        overwrite: Replace an output that exists.
    """
    from vc_data.contract import check_target, sha256_tree

    o = options
    given = (screen, *o.others, o.groups, o.names, o.toml, o.structures)
    check_target(output, kind="splits", overwrite=overwrite, inputs=[path for path in given if path is not None])
    import vc_data.split as splitting
    from vc_data.screen.file import read_screen_or_effects

    splits = make(read_screen_or_effects(screen), options)
    splitting.write_splits(splits, output, parents={screen.name: sha256_tree(screen)}, overwrite=overwrite)
    print("\n".join(splits.lines()))
    print(f"held out: {splits.config['held_out']}")
    unproven = splits.config.get("not_proven", [])
    if unproven:
        print(
            f"not proven for {len(unproven)} targets that are no known gene ({few(unproven, 3)}): a second name of one would "
            "not be noticed; vc-data convert --aliases TABLE links them"
        )
    print(f"wrote {output}; next: train on {screen} with it, then score the test conditions")


def make(screen, options: SplitOptions) -> "Splits":
    """The split of a screen (an AnnData) that the options ask for.

    Raises:
        OptionError: A setting that the recipe needs is absent.
    """
    import vc_data.split as splitting
    from vc_data.genes.tables import read_panel
    from vc_data.screen.file import read_screen_or_effects

    o, shared = options, {"seed": options.seed, "min_cells": options.min_cells}

    def need(name: str):
        value = getattr(o, name)
        if not value:
            flag = f"--{name.replace('_', '-')}"
            raise OptionError(flag, o.recipe, "a value", "none", f"Pass {flag}.")
        return value

    if o.recipe == "by_perturbation":
        return splitting.by_perturbation(screen, test=o.test, val=o.val, **shared)
    if o.recipe == "kfold":
        others = [read_screen_or_effects(path) for path in o.others]
        groups = _read_groups(o.groups) if o.groups else None
        return splitting.kfold(
            screen, fold=o.fold, n_folds=o.folds, val=o.val > 0, others=others, groups=groups, **shared
        )
    if o.recipe == "named":
        return splitting.named(screen, test=need("hold_out"), val=o.hold_out_val, **shared)
    if o.recipe == "follow":
        return splitting.follow(screen, read_pairs(need("others")), **shared)
    if o.recipe == "by_cell_line":
        lines = o.test_lines or o.test
        return splitting.by_cell_line(screen, test_lines=lines, val_lines=o.val_lines, unseen=o.unseen, **shared)
    if o.recipe == "few_shot":
        sizes = {"n_train": o.n_train, "n_val": o.n_val, "n_test": o.n_test}
        return splitting.few_shot(screen, need("cell_line"), **sizes, **shared)
    if o.recipe == "gears":
        return splitting.gears(screen, names=read_panel(o.names) if o.names else None, **shared)
    if o.recipe == "cell_load":
        how = {"dataset": o.toml_dataset, "allow_absent": o.allow_absent}
        return splitting.cell_load(screen, need("toml"), **how, **shared)
    if o.recipe == "by_scaffold":
        structures = splitting.read_structures(need("structures"))
        return splitting.by_scaffold(screen, structures, test=o.test, val=o.val, **shared)
    return splitting.by_dose(screen, doses=_read_doses(o.doses), **shared)


def check(
    files: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="SCREEN SPLITS ...")],
    trust_names: bool = False,
    json: bool = False,
) -> None:
    """Check that the splits of several screens hold out the same targets, and that no study is there twice.

    For example:
      vc-data check k562.zarr k562.json rpe1.zarr rpe1.json

    Args:
        files: Screens, each followed by its splits.
        trust_names: Take targets that are linked to no gene for what their names say.
        json: Print JSON.
    """
    from vc_contracts.command import print_json

    import vc_data.split as splitting

    pairs = read_pairs(files)
    names = [path.name for path in files[::2]]
    lines = splitting.check_corpus(pairs, names, trust_names=trust_names)
    if json:
        print_json({"screens": names, "findings": lines, "leak": False})
        return
    print("\n".join(lines))
    print(f"no leak among {len(names)} screens; next: train on them together")


def read_pairs(files: tuple[Path, ...]) -> list[tuple[object, "Splits"]]:
    """Screens, each followed by its splits, read and checked.

    Raises:
        OptionError: An odd number of files, or none.
        ContractError: One of them breaks its contract.
    """
    from vc_data.screen.file import read_screen_or_effects
    from vc_data.split.file import read_splits

    if not files or len(files) % 2:
        do = "Pass SCREEN SPLITS SCREEN SPLITS ..."
        raise OptionError("files", "arguments", "screens, each followed by its splits", f"{len(files)} files", do)
    screens = [read_screen_or_effects(path) for path in files[::2]]
    triples = zip(screens, files[::2], files[1::2], strict=True)
    return [(screen, read_splits(path, screen, screen_path=own)) for screen, own, path in triples]


def _read_groups(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise SourceError(path, "file", "a table of targets and groups", "nothing", "Check the path.")
    rows = [line.rstrip("\n").split("\t") for line in path.read_text().splitlines() if line.strip()]
    wrong = [row for row in rows if len(row) < 2]
    if wrong:
        raise SourceError(path, "lines", "target, tab, group", repr(wrong[0][0]), "Mend the file.")
    return {row[0]: row[1] for row in rows}


def _read_doses(doses: tuple[str, ...]) -> list[float] | Literal["highest", "lowest", "random"]:
    if len(doses) == 1 and not doses[0].replace(".", "").replace("e-", "").isdigit():
        # by_dose refuses any other word.
        return cast("Literal['highest', 'lowest', 'random']", doses[0])
    try:
        return [float(dose) for dose in doses]
    except ValueError:
        do = "Pass one of highest, lowest, random, or numbers."
        raise OptionError("--doses", "by_dose", "highest, lowest, random or numbers", " ".join(doses), do) from None
