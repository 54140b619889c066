"""`vc fit`: a model for use, fitted on everything that a screen measured, or on the training conditions of a split."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vc_apps.ask.settings import Fit
from vc_apps.outputs import AppError, check_out, plain, say

if TYPE_CHECKING:
    from vc_model.contracts import FeatureBank, Screen, Splits
    from vc_model.predictor import Fitted, Model
    from vc_model.table.effects import Conditions, EffectTable


def fit(settings: Fit) -> None:
    """Fit and write the model folder, whole or not at all.

    Raises:
        AppError: If the request cannot be carried out.
        VcModelError: If an input is refused.
    """
    from vc_contracts.kinds import exists

    check_out(settings, "checkpoint")
    inputs = [path for path in (*settings.screen, *settings.split, *settings.bank, settings.plugin) if path is not None]
    if not settings.screen:
        raise AppError("fit: expected a screen, found none. Type: vc fit SCREEN -o MODEL.")
    if settings.member and settings.plugin is None:
        raise AppError("--member: expected a --plugin to stack with --model, found none. Name its file.")
    for path in inputs:
        if not exists(path):
            raise AppError(f"{path}: expected a file to read, found none. Check the path.")
    if settings.model == "biojepa" and settings.plugin is None:
        print(_fit_biojepa(settings))
        return
    chosen_model(settings.model, settings.plugin, settings.seed)  # refused before anything is read
    if len(settings.screen) > 1:
        from vc_apps.ask.screens import fit_screens

        fit_screens(settings)
        return
    if settings.weight or len(settings.split) > 1:
        raise AppError("fit: expected several screens for --weight or several --split, found one. Leave them out.")
    split = settings.split[0] if settings.split else None
    data = load(settings.screen[0], split, settings.bank, min_cells=settings.min_cells, seed=settings.seed)
    table = data.table
    lines = ", ".join(table.trained_lines[:5])
    say(f"{len(table)} conditions x {len(table.genes)} genes in {lines}")
    if settings.dry_run:
        print(f"would fit {name_of(settings)} on {len(table)} conditions and write {settings.out}/")
        return
    record = {"command": "fit", "settings": plain(settings)}
    fit_and_save(
        data,
        settings.out,
        settings.model,
        settings.plugin,
        settings.seed,
        inputs,
        settings.overwrite,
        record=record,
        member=settings.member,
    )
    target = next((name for name in table.genes if name not in _targets(table)), "GENE")
    print(
        f"wrote {settings.out}/: {name_of(settings)} on {len(table)} conditions x {len(table.genes)} genes. Next: vc predict "
        f"{settings.out} --genes {target} -o answers, or vc support {settings.out}"
    )


def _fit_biojepa(settings: Fit) -> str:
    """Train BioJEPA as `vc train biojepa` does by default.

    Returns:
        A line that says what was written.

    Raises:
        AppError: Without a split, with more than one bank, or for a dry run, which `vc train biojepa` has.
    """
    from vc_apps.train.biojepa import train_biojepa
    from vc_apps.train.settings import BioJepa

    if len(settings.screen) != 1 or len(settings.split) != 1 or len(settings.bank) > 1 or settings.dry_run:
        raise AppError(
            "--model biojepa: expected --split, at most one --bank and no --dry-run, found otherwise. Make a split with "
            "`vc-data split`, or see `vc train biojepa --help`, which also goes on after an interruption."
        )
    features = settings.bank[0] if settings.bank else None
    return train_biojepa(
        BioJepa(
            screen=settings.screen[0],
            splits=settings.split[0],
            out=settings.out,
            features=features,
            seed=settings.seed,
            overwrite=settings.overwrite,
        )
    )


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a model is fitted on.

    Attributes:
        table: Effects of the training conditions.
        screen: The screen they were measured in; None for a table of effects.
        splits: Which of its conditions train; None for a table of effects.
        banks: Vectors of the targets.
        held: Conditions that the split holds out.
    """

    table: "EffectTable"
    screen: "Screen | None"
    splits: "Splits | None"
    banks: tuple["FeatureBank", ...]
    held: tuple["Conditions", ...] = ()


def load(
    screen: "Path | Screen",
    split: Path | None,
    banks: "tuple[Path | FeatureBank, ...]",
    *,
    min_cells: int = 20,
    seed: int = 0,
) -> TrainingData:
    """The training table of a screen, or of a table of effects, with a split or without."""
    from vc_model.ask.everything import whole_split
    from vc_model.contracts import FeatureBank, Screen, read_features, read_screen, read_splits
    from vc_model.contracts.effects import is_effects
    from vc_model.table.measured import load_effects
    from vc_model.table.pseudobulk import load_tables

    if isinstance(screen, Path) and is_effects(screen):
        table, *held = load_effects(screen, split, banks)
        return TrainingData(table, None, None, (), tuple(held))
    opened = screen if isinstance(screen, Screen) else read_screen(screen)
    splits = whole_split(opened, min_cells=min_cells, seed=seed) if split is None else read_splits(split, opened)
    read = tuple(bank if isinstance(bank, FeatureBank) else read_features(bank) for bank in banks)
    table, *held = load_tables(opened, splits, read)
    return TrainingData(table, opened, splits, read, tuple(held))


def fit_and_save(
    data: TrainingData,
    out: Path,
    model: str,
    plugin: Path | None,
    seed: int,
    inputs: list[Path],
    overwrite: bool,
    hashes: dict[str, str] | None = None,
    record: dict[str, Any] | None = None,
    member: bool = False,
    chosen: "Model | None" = None,
) -> "Fitted":
    """Fit a model by name or from a plugin, and write it with what it remembers of the table.

    Args:
        data: The training effects, and the cells they were measured on.
        out: The model folder.
        model: A name of `vc-model list`.
        plugin: A user's own model, in its place.
        seed: Of everything random.
        inputs: What the table was made from; their hashes go into the header.
        overwrite: Replace a model that stands there.
        hashes: Path -> sha256, where they are known already.
        record: What was typed, for `vc rerun`.
        member: Stack the plugin with the named model.
        chosen: The model itself, in place of its name.
    """
    from vc_model.ask.again import ask_again
    from vc_model.ask.memory import make_memory
    from vc_model.checkpoint import save_checkpoint
    from vc_model.contracts import hash_path

    chosen = chosen_model(model, plugin, seed, member=member) if chosen is None else chosen
    say(f"fitting {chosen.name}")
    fitted = chosen.fit(data.table)
    again = None
    if data.screen is not None and data.splits is not None:
        say("asking it again: what is it worth on conditions that it has seen?")
        again = ask_again(data.screen, data.splits, chosen, data.banks, seed=seed)
    memory = make_memory(data.table, fitted, again)
    known = hashes or {}
    parents: dict[str, str] = {}
    for path in inputs:
        name = path.name if path.name not in parents else f"{path.parent.name}/{path.name}"
        parents[name] = known.get(path.name) or hash_path(path)
    config = {"model": fitted.name, "seed": seed, **(record or {})}
    save_checkpoint(out, fitted, parents=parents, config=config, memory=memory, overwrite=overwrite)
    return fitted


def chosen_model(model: str, plugin: Path | None, seed: int, *, member: bool = False) -> "Model":
    """A model by name, a user's own from its file, or the two stacked.

    Raises:
        VcModelError: If there is no such model, or the file holds none.
    """
    from vc_model.ask.member import Members
    from vc_model.ask.plugin import read_plugin
    from vc_model.models import make_model

    built_in = make_model(model, seed)
    if plugin is None:
        return built_in
    return Members(built_in, read_plugin(plugin)) if member else read_plugin(plugin)


def name_of(settings: Fit) -> str:
    """What is fitted, in words."""
    if settings.plugin is None:
        return settings.model
    return f"{settings.model} stacked with {settings.plugin.name}" if settings.member else settings.plugin.name


def _targets(table: "EffectTable") -> set[str]:
    return {target for action in table.conditions.actions for target in action.targets}
