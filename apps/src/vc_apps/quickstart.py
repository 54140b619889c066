"""`vc quickstart`: from counts to a report, one stage after the other.

Each stage reads files and writes files; nothing is handed on in memory that is not also in the run folder. What is
held out is decided once (`splits/`), before anything looks at an effect.
"""

import dataclasses
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from rich.console import Console

from vc_apps.beside import beside
from vc_apps.models import (
    MODEL,
    OURS,
    Inputs,
    fit_and_predict,
    fit_files_for_use,
    open_inputs,
    own_models,
    train_and_predict_biojepa,
)
from vc_apps.outputs import RUN_FNAME, AppError, check_out, run_folder, write_json
from vc_apps.settings import Quickstart

if TYPE_CHECKING:
    import pandas as pd
    from vc_eval.split.score import SplitScores

HEADLINES = ("pearson_delta", "mse_delta", "vcc2025/overall")
"""The three numbers that the last lines print."""
FEW_PERTURBATIONS = 100
"""Under so many perturbations one split says little: several are scored and pooled."""
VALUES_BESIDE = (100_000, 20_000_000)
"""Groups of cells times genes from and up to which processes share the work: a new one takes seconds to begin, and has
the screen in memory once more."""
console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


@dataclass
class Run:
    """Where a run stands: its settings, its folder, and the seconds each stage took."""

    settings: Quickstart
    dpath: Path
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announce and time one stage."""
        self._announce(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 2)

    def beside[A](self, name: str, work: Callable[..., A], *args: Any) -> Callable[[], A]:
        """Start one stage in a process of its own; what is given back waits for its end and gives its result."""
        self._announce(name)
        wait = beside(work, *args)

        def result() -> A:
            value, seconds = wait()
            self.seconds[name] = round(seconds, 2)
            return value

        return result

    def later[A](self, name: str, work: Callable[..., A], *args: Any) -> Callable[[], A]:
        """The same, done when the result is asked for."""

        def result() -> A:
            with self.stage(name):
                return work(*args)

        return result

    def _announce(self, name: str) -> None:
        if os.environ.get("VC_VOLUME") != "quiet":
            console.print(name, style="bold")


def quickstart(settings: Quickstart) -> None:
    """Run the whole job and write `settings.out`, whole or not at all.

    Args:
        settings: What to run; see `Quickstart`.

    Raises:
        AppError: If the request cannot be carried out.
        ValueError: The packages' own refusals of the input (file, field, expected, found, what to do).
        OSError: If the disk is full or a folder cannot be written.
    """
    check_out(settings, "run")
    _check(settings)
    if settings.dry_run:
        what = settings.data or f"a simulated screen ({settings.preset})"
        print(f"would convert {what}, split, fit, score, and write {settings.out}/")
        return
    with run_folder(settings.out, overwrite=settings.overwrite) as dpath:
        run = Run(settings, dpath)
        source_fpath, genesets_fpath = _source(run)
        inputs = _open(run, _convert(run, source_fpath), genesets_fpath)
        splits_fpaths = _split(run, inputs)
        fit_all = _fit_on_everything(run, inputs)
        scored = [_fit_and_score(run, inputs, fpath) for fpath in splits_fpaths]
        challenge = _write_challenge_file(run, inputs, splits_fpaths[0])
        summary = _report(run, scored, inputs, splits_fpaths)
        challenge()
        gene = fit_all()
        write_json(dpath / RUN_FNAME, _run_record(run))
    _say_goodbye(settings, summary, gene)


def _check(settings: Quickstart) -> None:
    """Refuse what cannot work before any work is done."""
    if settings.data is not None and not settings.data.is_file():
        raise AppError(f"--data {settings.data}: no such file. Give the path of an .h5ad with raw counts.")
    if settings.genesets is not None and not settings.genesets.is_file():
        raise AppError(f"--genesets {settings.genesets}: no such file. Give the path of a .gmt file.")
    absent = [str(path) for path in settings.bank if not path.exists()]
    if absent:
        raise AppError(
            f"--bank: no such file: {', '.join(absent)}. Give features-v1 files, as vc-featurize writes them."
        )
    _check_plugin(settings)
    if settings.split == "few_shot" and settings.few_shot_line is None:
        raise AppError(
            "--split few_shot needs --few-shot-line, the cell line that is shown through a few perturbations."
        )
    if settings.split == "named" and not settings.hold_out:
        raise AppError("--split named: expected names with --hold-out, found none. Name targets, e.g. --hold-out TP53.")
    if settings.hold_out and settings.split not in ("auto", "named"):
        raise AppError(f"--hold-out: expected --split named, found {settings.split}. Leave one of the two out.")
    if not 0 < settings.test < 1:
        raise AppError(f"--test {settings.test}: expected a share between 0 and 1 of the perturbations, e.g. 0.25.")
    if settings.jepa_steps is not None and (settings.jepa_steps < 1 or settings.model != "biojepa"):
        raise AppError(f"--jepa-steps {settings.jepa_steps}: expected 1 or more, together with --model biojepa.")
    if settings.repeats < 0 or settings.bootstrap < 100 or settings.min_cells < 1:
        raise AppError("expected --repeats >= 0, --bootstrap >= 100 and --min-cells >= 1.")


def _check_plugin(settings: Quickstart) -> None:
    if settings.plugin is None:
        if settings.member:
            raise AppError("--member: expected a --plugin to stack with the built-in model, found none. Name its file.")
        return
    from vc_model.models import MODELS

    taken = [name for name in _own_names(settings) if name in (*OURS, *MODELS)]
    if taken:
        raise AppError(
            f"--plugin {settings.plugin}: name: expected one of its own, found {taken[0]!r}, which is built in."
        )


def _source(run: Run) -> tuple[Path, Path | None]:
    """The user's file, or a simulated one with its gene sets."""
    if run.settings.data is not None:
        return run.settings.data, run.settings.genesets
    from vc_data.simulate import PRESETS, write_simulation

    dpath = run.dpath / "simulated"
    with run.stage("simulate"):
        write_simulation(PRESETS[run.settings.preset], run.settings.seed, dpath)
    return dpath / "screen.h5ad", run.settings.genesets or dpath / "pathways.gmt"


def _convert(run: Run, source_fpath: Path) -> Path:
    from vc_data.convert.run import convert
    from vc_data.options import ConvertOptions

    settings = run.settings
    dataset = source_fpath.stem if settings.data is not None else f"simulated-{settings.preset}"
    options = ConvertOptions(columns=settings.columns, layer=settings.layer, dataset=dataset, seed=settings.seed)
    with run.stage("convert"):
        report = convert(source_fpath, run.dpath / "screen.zarr", options)
    for line in report.lines():
        console.print(f"  {line}")
    return report.path


def _open(run: Run, screen_fpath: Path, genesets_fpath: Path | None) -> Inputs:
    """Read, check and hash the screen, once; gene sets as one vector per target, where there are any."""
    from vc_data.screen.file import read_screen

    adata = read_screen(screen_fpath)
    features_fpath = None
    if genesets_fpath is not None:
        from vc_featurize.bank import write_features
        from vc_featurize.geneset import geneset_features

        labels = adata.obs["target"].astype(str).unique()
        targets = sorted({target for label in labels for target in label.split("+")} - {"control"})
        with run.stage("featurize"):
            bank = geneset_features(genesets_fpath, targets)
            config = {"genesets": genesets_fpath.name}
            features_fpath = write_features(run.dpath / "features.zarr", bank, config=config)
        console.print(f"  {genesets_fpath.name}: vectors for {int((~bank.missing).sum())} of {len(targets)} targets")
    return open_inputs(screen_fpath, adata, features_fpath, run.settings.bank)


def _split(run: Run, inputs: Inputs) -> list[Path]:
    """One or several splits of the screen, as the settings ask or as its size suggests."""
    from vc_data import split as splitting
    from vc_model.contracts import hash_path

    settings, screen = run.settings, inputs.adata
    obs = cast("pd.DataFrame", screen.obs)
    perturbed = obs.loc[~obs["is_control"]]
    n_perturbations = perturbed["perturbation"].astype(str).nunique()
    lines = np.unique(perturbed["cell_line"].astype(str))
    recipe = "named" if settings.hold_out else settings.split
    if recipe == "auto":
        recipe = "by_cell_line" if n_perturbations < 3 else "by_perturbation"
    once = recipe == "named" or n_perturbations >= FEW_PERTURBATIONS or settings.model == "biojepa"
    repeats = settings.repeats or (1 if once else 5)
    if recipe == "by_cell_line":
        repeats = min(settings.repeats or len(lines), len(lines))
    common = {"min_cells": settings.min_cells}
    fpaths = []
    with run.stage("split"):
        parents = {inputs.screen_fpath.name: inputs.hashes[inputs.screen_fpath.name]}
        for repeat in range(repeats):
            seed = settings.seed + repeat
            if recipe == "by_cell_line":
                # Every line is held out once, so no line's number depends on a draw.
                made = splitting.by_cell_line(screen, test_lines=[str(lines[repeat])], seed=seed, **common)
            elif recipe == "named":
                made = splitting.named(screen, test=settings.hold_out, seed=seed, **common)
            elif recipe == "few_shot":
                line = cast("str", settings.few_shot_line)  # checked with the settings
                made = splitting.few_shot(screen, line, seed=seed, **common)
            else:
                made = splitting.by_perturbation(screen, seed=seed, test=settings.test, **common)
            fpath = run.dpath / "splits" / f"split-{repeat}.json"
            fpath.parent.mkdir(exist_ok=True)
            splitting.write_splits(made, fpath, parents=parents)
            inputs.hashes[fpath.name] = hash_path(fpath)
            fpaths.append(fpath)
    console.print(f"  {recipe}, {repeats} split(s), conditions under {settings.min_cells} cells are left out")
    return fpaths


def _fit_on_everything(run: Run, inputs: Inputs) -> Callable[[], str]:
    """Fit the model that is kept, which needs none of the scores: beside the other stages where that is quicker and fits.

    Returns:
        Gives a gene to ask the model about, when it has been written.
    """
    from vc_model.table.threads import allowed_threads

    settings = run.settings
    start = run.later
    if _may_be_beside(run, inputs):
        start = run.beside
        os.environ.setdefault("VC_THREADS", str(max(1, allowed_threads() // 2)))  # two fits share the cores
    files = (inputs.screen_fpath, inputs.features_fpath, settings.bank)
    choices = (settings.min_cells, settings.seed, settings.plugin)
    return start("fit on everything", fit_files_for_use, *files, run.dpath / "model", *choices)


def _may_be_beside(run: Run, inputs: Inputs) -> bool:
    values = len(inputs.screen.groups) * inputs.adata.n_vars
    # Training takes all cores as it is.
    return VALUES_BESIDE[0] <= values <= VALUES_BESIDE[1] and run.settings.model != "biojepa"


def _fit_and_score(run: Run, inputs: Inputs, splits_fpath: Path) -> "SplitScores":
    """Fit and predict every model on one split, then score the files that came out."""
    from vc_eval.split.score import score_split

    name = splits_fpath.stem
    with run.stage(f"fit and predict {name}"):
        fpaths = fit_and_predict(
            inputs,
            splits_fpath,
            run.dpath / "predictions" / name,
            checkpoint_dpath=run.dpath / "checkpoint" if name == "split-0" else None,
            seed=run.settings.seed,
            plugin=run.settings.plugin,
            member=run.settings.member,
        )
    if run.settings.model == "biojepa":
        with run.stage(f"train biojepa on {name}"):
            fpaths["biojepa"] = train_and_predict_biojepa(
                inputs.screen_fpath,
                splits_fpath,
                inputs.features_fpath,
                run.dpath / "biojepa" / name,
                run.dpath / "predictions" / name / "biojepa.h5ad",
                seed=run.settings.seed,
                steps=run.settings.jepa_steps,
            )
    with run.stage(f"score {name}"):
        progress = sys.stderr.isatty()
        return score_split(inputs.adata, splits_fpath, fpaths, seed=run.settings.seed, split=name, progress=progress)


def _write_challenge_file(run: Run, inputs: Inputs, splits_fpath: Path) -> Callable[[], tuple[int, int]]:
    """Write the cells that the model predicts, in the form of the challenge, beside what follows where that is quicker."""
    from vc_apps.submit.shift import write_challenge_file

    start = run.beside if _may_be_beside(run, inputs) else run.later
    prediction_fpath = run.dpath / "predictions" / splits_fpath.stem / f"{run.settings.model}.h5ad"
    work = partial(write_challenge_file, seed=run.settings.seed)
    return start(
        "challenge file", work, inputs.screen_fpath, splits_fpath, prediction_fpath, run.dpath / "challenge.h5ad"
    )


def _report(run: Run, scored: "list[SplitScores]", inputs: Inputs, splits_fpaths: list[Path]) -> "pd.DataFrame":
    """Pool the splits, write scores and page; return the summary table."""
    from vc_eval.contracts import fill_scores
    from vc_eval.report.page import write_report
    from vc_eval.stats.summary import summarise

    settings = run.settings
    baselines = [name for name in scored[0].models if name not in (*OURS, *_own_names(settings))]
    hashes = {path.name: inputs.hashes[path.name] for path in (inputs.screen_fpath, *splits_fpaths)}
    with run.stage("summarise"):
        summary = summarise(scored, baselines=baselines, seed=settings.seed, n_boot=settings.bootstrap)
        config = {"seed": settings.seed, "n_boot": settings.bootstrap, "splits": len(splits_fpaths)}
        told = {"model": settings.model, **_headline(summary, settings.model)}
        fill_scores(run.dpath, summary, parents=hashes, config=config, summary=told)
    with run.stage("report"):
        meta = {
            "model": settings.model,
            "baselines": baselines,
            "seed": settings.seed,
            "n_boot": settings.bootstrap,
            "command": shlex.join(["vc", *sys.argv[1:]]),
            "hashes": hashes,
            "versions": _versions(),
            "config": {name: str(value) for name, value in dataclasses.asdict(settings).items()},
        }
        write_report(run.dpath / "report.html", summary=summary, splits_scores=scored, meta=meta)
    return summary


def _headline(summary, model: str) -> dict:
    """The three numbers that matter: model, best baseline and ceiling, each with the model's interval; None if undefined."""
    rows = summary[(summary["model"] == model) & (summary["group"] == "all")].set_index("metric")
    rows = rows[["value", "lower", "upper", "baseline", "ceiling", "n"]].astype(float).replace(np.nan, None)
    return {name: rows.loc[name].to_dict() for name in HEADLINES}


def _versions() -> dict[str, str]:
    names = ("vc-apps", "vc-data", "vc-featurize", "vc-model", "vc-eval", "anndata", "jax", "numpy", "scipy")
    return {name: version(name) for name in names}


def _run_record(run: Run) -> dict:
    """What a reader needs to run this again: settings, versions, seconds per stage."""
    settings = dataclasses.asdict(run.settings)
    return {"command": "quickstart", "settings": settings, "versions": _versions(), "seconds": run.seconds}


def _own_names(settings: Quickstart) -> list[str]:
    """Names of the user's own models."""
    if settings.plugin is None:
        return []
    return [model.name for model in own_models(settings.plugin, member=settings.member, seed=settings.seed)]


def _say_goodbye(settings: Quickstart, summary: "pd.DataFrame", gene: str) -> None:
    """The last lines: what was written, and the three numbers that matter."""
    if settings.json:
        from vc_contracts.command import print_json

        models = dict.fromkeys((settings.model, MODEL))
        print_json({"out": str(settings.out), "scores": {model: _headline(summary, model) for model in models}})
        return
    print(f"wrote {settings.out}/: report.html, scores.parquet, predictions/, challenge.h5ad, checkpoint/, model/")
    for model in dict.fromkeys((settings.model, MODEL)):
        for name, row in _headline(summary, model).items():
            value, lower, upper, baseline, ceiling = (
                "undefined" if row[key] is None else f"{row[key]:.4f}"
                for key in ("value", "lower", "upper", "baseline", "ceiling")
            )
            print(
                f"{name}: {model} {value} [{lower}, {upper}], best baseline {baseline}, split-half ceiling {ceiling} "
                f"({row['n']:.0f} held-out conditions)"
            )
    print(f"open {settings.out}/report.html")
    print(f"model/ is fitted on everything. Ask it: vc predict {settings.out}/model --genes {gene} -o answers")
    print(
        f"what it knows: vc support {settings.out}/model. The same run again: vc rerun {settings.out}/{RUN_FNAME} -o again"
    )
