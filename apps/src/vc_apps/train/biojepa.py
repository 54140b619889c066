"""`vc train biojepa*`: the stages one after the other, and the checkpoint at the end.

Unfinished work lies in `OUT.train`, a folder per stage; the checkpoint `OUT` appears whole at the end and takes the metrics
with it. The same command goes on from the last save, whatever stopped it.
"""

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from vc_apps.outputs import AppError
from vc_apps.train.settings import ActionConditioned, Align, BioJepa, Decode, Pretrain, Stage
from vc_apps.train.work import close, work_folder

if TYPE_CHECKING:
    from vc_model.biojepa.config import BioJepaConfig
    from vc_model.biojepa.config import Stage as StageName

STAGES_OF: "dict[type[BioJepa], tuple[StageName, ...]]" = {
    BioJepa: ("pretrain", "align", "ac", "decode"),
    Pretrain: ("pretrain",),
    Align: ("align",),
    ActionConditioned: ("ac",),
    Decode: ("decode",),
}
console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


def train_biojepa(settings: BioJepa) -> str:
    """Run the stages that the command names and write the checkpoint; of several processes, the first one writes.

    Returns:
        A line that says what was written and what to do next.

    Raises:
        AppError: If the request cannot be carried out.
        VcModelError, VcDataError: The packages' own refusals.
        InterruptedRun: After Ctrl-C; the work so far is saved.
    """
    from vc_model.train.log import check_tracker

    _check(settings)
    check_tracker(settings.tracker)
    _join(settings)
    from vc_model.table.pseudobulk import load_tables
    from vc_model.train.interrupt import catch_interrupts

    from vc_apps.train.conditions import Conditioning, finish

    with catch_interrupts() as should_stop, work_folder(settings.out, first=settings.process == 0) as work:
        table, val, test = load_tables(settings.screen, settings.splits, settings.features)
        recipe, fitted = _start(settings, table, val, test)
        stages = STAGES_OF[type(settings)]
        if "align" in stages and not (fitted.bank.has_seq_e & fitted.bank.has_target_e).any():
            if stages == ("align",):
                raise AppError(
                    "biojepa-align: needs --sequences, a features-v1 bank whose entities are targets of the screen."
                )
            stages = tuple(stage for stage in stages if stage != "align")
            console.print("  no sequence vectors (--sequences): alignment is left out")
        console.print(f"  {fitted.bank.source}")
        shown: dict[str, float] = {}
        learning = Conditioning(settings, recipe, table)
        for stage in stages:
            if stage in ("ac", "decode"):
                fitted = learning.begin(fitted)
            fitted, last = _run_stage(stage, settings, recipe, fitted, table, work / stage, should_stop, learning)
            shown |= {f"{stage}/{name}": value for name, value in last.items()}
        if "decode" in stages:
            fitted, chosen = finish(learning, fitted, test, work / "folds")
            shown |= chosen
        if settings.process > 0:
            return f"process {settings.process} of {settings.processes} is done; process 0 writes {settings.out}/"
        _save(settings, fitted, {name: value for name, value in shown.items() if value is not None})
        _keep_metrics(work, settings.out, stages)
        close(work)
    return (
        f"wrote {settings.out}/: {fitted.name} after {', '.join(fitted.stages)}. {_next(settings, fitted, len(test))}"
    )


def _save(settings: BioJepa, fitted, metrics: dict[str, float]) -> None:
    from vc_contracts.bucket.address import shown
    from vc_model.checkpoint import save_checkpoint
    from vc_model.contracts import hash_path

    banks = (settings.screen, settings.splits, settings.features, settings.sequences, settings.targets)
    save_checkpoint(
        settings.out,
        fitted,
        metrics=metrics,
        parents={path.name: hash_path(path) for path in banks if path is not None},
        config={
            name: shown(value) if isinstance(value, Path) else str(value)
            for name, value in dataclasses.asdict(settings).items()
        },
        overwrite=settings.overwrite,
    )


def _check(settings: BioJepa) -> None:
    """Refuse what cannot work before anything heavy is read."""
    from vc_contracts.bucket.names import address_of
    from vc_contracts.kinds import exists

    for name in ("screen", "splits", "features", "sequences", "targets", "start"):
        path = getattr(settings, name, None)
        if path is not None and not exists(path):
            raise AppError(f"--{name} {path}: no such file. Check the path.")
    if settings.processes > 1 and address_of(str(settings.out)) is not None:
        raise AppError(
            "--out: expected a folder that all processes share, found an address in a bucket. Several processes save "
            "together: write to a shared folder, then `vc-contracts copy` it."
        )
    if not 0 <= settings.process < settings.processes or (settings.processes > 1) != (settings.coordinator is not None):
        raise AppError(
            f"--processes {settings.processes} --process {settings.process} --coordinator {settings.coordinator}: expected "
            "a process in 0..processes - 1, and a HOST:PORT exactly where there are several."
        )
    if settings.faithful and settings.objective == "conditions":
        raise AppError(
            "--objective conditions: the published form learns from pairs. Leave out one of it and --faithful."
        )
    if settings.folds < 2:
        raise AppError(f"--folds {settings.folds}: expected 2 or more.")
    if isinstance(settings, Align | ActionConditioned | Decode) and settings.start is None:
        raise AppError(
            "--start: expected the checkpoint of the stage before, found none. Give it, or use `vc train biojepa`."
        )


def _join(settings: BioJepa) -> None:
    """Become one of several processes, before jax looks at any device."""
    console.quiet = settings.process > 0
    if settings.processes == 1:
        return
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(settings.coordinator, settings.processes, settings.process)
    except (RuntimeError, ValueError) as error:
        raise AppError(
            f"--coordinator {settings.coordinator}: process {settings.process} could not join ({error}). Start all "
            f"{settings.processes} processes with the same address, a free port of the machine of process 0."
        ) from error


def _start(settings: BioJepa, table, val, test):
    """The recipe, and the model as it is before the first stage of this command."""
    import numpy as np
    from vc_model.biojepa.actions import make_action_bank
    from vc_model.biojepa.fitted import FittedBioJepa
    from vc_model.checkpoint import load_checkpoint
    from vc_model.contracts import read_features
    from vc_model.table.pseudobulk import load_control_cells

    from vc_apps.train.recipes import RECIPES

    recipe = RECIPES[settings.preset](len(table.genes), faithful=settings.faithful)
    if isinstance(settings, Stage) and settings.start is not None:
        fitted = load_checkpoint(settings.start)
        if not isinstance(fitted, FittedBioJepa):
            raise AppError(f"--start {settings.start}: expected a BioJEPA checkpoint, found {fitted.name!r}.")
        if fitted.contexts.genes != table.genes:
            raise AppError(
                f"--start {settings.start}: expected its {len(fitted.contexts.genes)} genes in {settings.screen}, found "
                f"others ({len(table.genes)}). Train on the screen it was begun on."
            )
        return recipe, dataclasses.replace(fitted, config=_learning_as_asked(settings, fitted.config))
    model = _learning_as_asked(settings, recipe.model)
    targets = {t for part in (table.conditions, val, test) for action in part.actions for t in action.targets}
    bank = make_action_bank(
        table,
        sorted(targets),
        seq_width=model.seq_width,
        target_width=model.target_width,
        modality_widths=model.modality_widths,
        sequences=None if settings.sequences is None else read_features(settings.sequences),
        target_vectors=None if settings.targets is None else read_features(settings.targets),
    )
    if not (bank.has_seq_e | bank.has_target_e)[np.isin(bank.entities, sorted(targets))].any():
        console.print(
            "  nothing is known of any target (none is a measured gene, none is in a bank): all get one learnt vector, so "
            "only mode and number of targets tell conditions apart. Give --features (of quickstart: --genesets)."
        )
    cells = load_control_cells(settings.screen, settings.splits, table.genes, recipe.control_cells)
    return recipe, FittedBioJepa(model, {}, (), table.contexts, cells, bank)


def _learning_as_asked(settings: BioJepa, config: "BioJepaConfig") -> "BioJepaConfig":
    """The same model with the objective that was asked for, if any."""
    return config if settings.objective is None else dataclasses.replace(config, objective=settings.objective)


def _run_stage(stage: "StageName", settings: BioJepa, recipe, fitted, table, folder: Path, should_stop, learning):
    """Train one stage; returns the model with the stage's parts, and the last line of its metrics."""
    import jax
    from vc_model.biojepa.stages import decay_mask, ema_update, init_stage, make_loss
    from vc_model.train.log import open_tracker, read_metrics
    from vc_model.train.loop import METRICS, train
    from vc_model.train.sharding import fetch
    from vc_model.train.state import Stage as TrainStage
    from vc_model.train.state import keep_frozen

    from vc_apps.train.plan import plan_stage

    config, cfg = recipe.stages[stage], fitted.config
    size = config.batch if settings.batch is None else settings.batch
    batches, per_epoch = _make_batches(stage, settings, size, fitted, table, learning)
    run = plan_stage(stage, settings, recipe, per_epoch)
    try:
        params, frozen = init_stage(stage, cfg, settings.seed, fitted.parts)
    except KeyError as error:
        raise AppError(f"--start: {error.args[0]} Train the earlier stage first.") from error

    # Choosing tokens crosses genes, so it is left out where these are spread over devices.
    richest = getattr(batches, "most_expressed", None)
    computed = cfg if richest is None or settings.gene > 1 else cfg.for_cells(richest)

    def follow(params: dict, frozen: dict) -> dict:
        return {"teacher": ema_update(frozen["teacher"], params["encoder"], config.ema)}

    console.print(f"{stage} {run.steps} steps of {size}", style="bold")
    name = f"{settings.out.name}-{stage}"
    with open_tracker(settings.tracker, run=name, config=dataclasses.asdict(settings)) as tracker:
        state = train(
            TrainStage(stage, make_loss(stage, computed), keep_frozen if config.ema is None else follow),
            params,
            frozen,
            batches,
            run,
            folder,
            n_genes=cfg.n_genes,
            decay=decay_mask(params, cfg),
            should_stop=should_stop,
            tracker=tracker,
        )
    trained: dict[str, Any] = dict(state.params) | ({"teacher": state.frozen["teacher"]} if stage == "pretrain" else {})
    parts = fitted.parts | fetch(trained)
    # Process 0 keeps the metrics, and may have put them away already when another one comes here.
    rows = read_metrics(folder / METRICS) if jax.process_index() == 0 else []
    last = {name: value for name, value in rows[-1].items() if name != "step"} if rows else {}
    return dataclasses.replace(fitted, parts=parts, stages=(*fitted.stages, stage)), last


def _make_batches(stage: str, settings: BioJepa, batch: int, fitted, table, learning):
    """Batches of a stage, and how many make an epoch."""
    import jax
    from vc_model.biojepa.conditions import ConditionBatches

    from vc_apps.train.feed import ActionBatches, CellBatches, PairBatches

    process = (jax.process_index(), jax.process_count())
    if batch % process[1]:
        raise AppError(f"--batch {batch}: expected a multiple of the {process[1]} processes.")
    common = {"batch_size": batch // process[1], "seed": settings.seed, "process": process}
    genes, conditions = fitted.contexts.genes, table.conditions
    if stage == "pretrain":
        batches = CellBatches(settings.screen, settings.splits, genes, **common)
        return batches, batches.loader.steps_per_epoch
    action_of = dict(zip(conditions.perturbation, conditions.actions, strict=True))
    if stage == "align":
        actions = ActionBatches(fitted.bank, list(dict.fromkeys(action_of.values())), **common)
        return actions, max(1, len(action_of) // max(1, actions.size * process[1]))
    if fitted.config.by_condition:
        batches = ConditionBatches(learning.lessons, fitted.bank, **common)
        return batches, batches.per_epoch
    # The published decoder learns from pairs of cells.
    means = stage == "decode" and not fitted.config.faithful
    effect_of = dict(zip(conditions.labels, table.delta_pg, strict=True)) if means else None
    pairs = PairBatches(settings.screen, settings.splits, genes, fitted.bank, action_of, effect_of=effect_of, **common)
    return pairs, pairs.loader.steps_per_epoch


def _keep_metrics(work: Path, out: Path, stages: tuple[str, ...]) -> None:
    """Copy the metrics into the checkpoint."""
    from vc_model.train.loop import METRICS

    (out / "metrics").mkdir(exist_ok=True)
    for stage in stages:
        shutil.copyfile(work / stage / METRICS, out / "metrics" / f"{stage}.jsonl")


def _next(settings: BioJepa, fitted, n_test: int) -> str:
    if fitted.spread is not None:
        return (
            f"Next: vc predict {settings.out} {settings.screen} {settings.splits} -o predictions.zarr "
            f"({n_test} test conditions)"
        )
    following = {"pretrain": "biojepa-align or biojepa-ac", "align": "biojepa-ac", "ac": "biojepa-decode"}
    return f"Next: vc train {following[fitted.stages[-1]]} {settings.screen} {settings.splits} -o NEXT --start {settings.out}"
