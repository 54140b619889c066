"""What verbs read: a model, its library, a wanted change."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from vc_apps.discover.settings import Asked
from vc_apps.outputs import AppError

if TYPE_CHECKING:
    from vc_model.plan.proof import Proof
    from vc_model.predictor import Fitted
    from vc_model.table.effects import Action, EffectTable


def read_run(run: Path) -> "EffectTable":
    """The measured effects of a quickstart run.

    Raises:
        AppError: If the folder is not such a run.
    """
    from vc_model.table.pseudobulk import load_tables

    for part in ("screen.zarr", "splits/split-0.json"):
        if not (run / part).exists():
            raise AppError(f"--run {run}: no {part} in it. Give the folder that `vc quickstart` wrote.")
    return load_tables(run / "screen.zarr", run / "splits/split-0.json")[0]


def read_model(asked: Asked) -> "Fitted":
    """The model that is asked.

    Raises:
        AppError: If none is given.
        CheckpointError: If it is damaged.
    """
    from vc_model.checkpoint import load_checkpoint

    fpath, run = asked.model, asked.run
    if fpath is None:
        if run is None:
            raise AppError("no model: give --run, the folder of a `vc quickstart` run, or --model, a checkpoint.")
        fpath = next((path for path in (run / "model", run / "checkpoint") if path.exists()), run)
    if not fpath.exists() or fpath == run:
        raise AppError(f"{fpath}: no model there. Give --run, a quickstart run, or --model, a checkpoint folder.")
    return load_checkpoint(fpath)


def proof_of(asked: Asked, what: Literal["singles", "combinations", "interactions"]) -> "Proof | None":
    """How the run's model did on the conditions of its first split that were held out from it; None without a run.

    The split's own fit is checked, the one that scored; the model that is asked was then fitted on everything.
    """
    from dataclasses import replace

    from vc_model.checkpoint import load_checkpoint
    from vc_model.contracts import read_screen, read_splits
    from vc_model.plan.proof import check_effects, check_interactions
    from vc_model.table.pseudobulk import load_tables

    run = asked.run
    if run is None or asked.model is not None or not (run / "checkpoint").exists():
        return None
    screen = read_screen(run / "screen.zarr")
    splits = read_splits(run / "splits/split-0.json", screen)
    if not {"val", "test"} & set(splits.parts.values()):
        return None
    turned = replace(splits, parts={key: "test" if part == "train" else "train" for key, part in splits.parts.items()})
    unseen, fitted = load_tables(screen, turned)[0], load_checkpoint(run / "checkpoint")
    if what == "interactions":
        return check_interactions(fitted, load_tables(screen, splits)[0], unseen, seed=asked.seed)
    return check_effects(fitted, unseen, pairs=what == "combinations", seed=asked.seed)


def context_of(asked: Asked, fitted: "Fitted") -> str:
    """The cell line that is asked about."""
    return asked.context or fitted.contexts.cell_lines[0]


def read_names(fpath: Path) -> list[str]:
    """Names of a list, as every command reads lists.

    Raises:
        AppError: If there are none.
        ListError: If it is no text.
    """
    from vc_contracts.text import lists

    if not fpath.is_file():
        raise AppError(f"{fpath}: no such file. Give a text file of names, one a line.")
    names = lists.read_names(fpath)
    if not names:
        raise AppError(f"{fpath}: no names in it. Give one name a line.")
    return names


def read_actions(asked: Asked, fitted: "Fitted") -> "list[Action]":
    """The single actions to choose from, by the names that the model has for their targets.

    Raises:
        AppError: If neither a library nor a run is given.
    """
    from vc_model.plan.library import check_unique
    from vc_model.table.effects import MODES, Action

    if asked.library is not None:
        names = read_names(asked.library)
        names = [fitted.contexts.call(name) for name in names]
        check_unique(names, str(asked.library))
        return [Action((name,), MODES.index(asked.mode)) for name in names]
    if asked.run is None:
        raise AppError("no library: give --library, a text file of targets, or --run, whose targets are used.")
    return run_actions(asked.run)


def run_actions(run: Path) -> "list[Action]":
    """Every single target of a run's screen, trained on or held out, as the screen acts on it."""
    from vc_model.table.effects import Action
    from vc_model.table.pseudobulk import load_tables

    train, val, test = load_tables(run / "screen.zarr", run / "splits/split-0.json")
    singles = {}
    for action in (*train.conditions.actions, *val.actions, *test.actions):
        for target in action.targets:
            singles.setdefault(target, Action((target,), action.mode, action.dose))
    return [singles[name] for name in sorted(singles)]


def wanted(
    signature: Path | None,
    start: Path | None,
    goal: Path | None,
    like: str | None,
    run: Path | None,
    context: str | None,
) -> tuple[tuple[str, ...], np.ndarray]:
    """Genes and values of the wanted change, from whichever source is given.

    Raises:
        AppError: If not exactly one source is given.
        PlanError: If the source is refused.
    """
    if sum((signature is not None, start is not None or goal is not None, like is not None)) != 1:
        raise AppError("expected one of --signature, --like, or --start with --goal.")
    if signature is not None:
        from vc_model.plan.query import read_profile

        return read_profile(signature)
    if like is not None:
        if run is None:
            raise AppError("--like needs --run, the quickstart run whose screen measured it.")
        return measured_effect(run, like, context)
    if start is None or goal is None:
        raise AppError("--start needs --goal, and --goal needs --start.")
    return difference(start, goal)


def background(fpath: Path | None, genes: tuple[str, ...]) -> "np.ndarray | None":
    """Mean of many signatures over the genes of one, 0 where it says nothing.

    Raises:
        PlanError: If the table is refused.
    """
    if fpath is None:
        return None
    from vc_model.plan.query import read_profile

    value_of = dict(zip(*read_profile(fpath), strict=True))
    return np.array([value_of.get(gene, 0.0) for gene in genes])


def measured_effect(run: Path, like: str, context: str | None) -> tuple[tuple[str, ...], np.ndarray]:
    """The effect that a run's screen measured for a trained perturbation; its own gene is left out."""
    from vc_model.plan.library import check_known

    table = read_run(run)
    labels = list(table.conditions.perturbation)
    if like not in labels:
        like = "+".join(sorted(table.contexts.call(part.strip()) for part in like.split("+")))
    check_known([like], set(labels), "--like", "the trained perturbations of the run")
    rows = [
        row
        for row, name in enumerate(labels)
        if name == like and (context is None or table.conditions.cell_line[row] == context)
    ]
    if not rows:
        raise AppError(f"--like {like}: not measured in context {context}.")
    targets = set(table.conditions.actions[rows[0]].targets)
    keep = np.array([gene not in targets for gene in table.genes])
    genes = tuple(gene for gene, kept in zip(table.genes, keep, strict=True) if kept)
    return genes, table.delta_pg[rows[0]][keep].astype(np.float64)


def difference(start: Path, goal: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Mean log1p CP10k of the goal's cells less that of the start's, over the genes of both."""
    import scipy.sparse as sp
    from vc_contracts.store import read_anndata

    means = []
    for fpath in (start, goal):
        if not fpath.exists():
            raise AppError(f"{fpath}: no such file. Give an .h5ad of raw counts.")
        adata = read_anndata(fpath)
        x = sp.csr_array(adata.X).astype(np.float64)
        depth = np.maximum(np.asarray(x.sum(axis=1)).ravel(), 1)
        x = sp.csr_array(sp.diags_array(1e4 / depth) @ x)
        x.data = np.log1p(x.data)
        means.append(dict(zip(adata.var_names.astype(str), np.asarray(x.mean(axis=0)).ravel(), strict=True)))
    genes = tuple(sorted(set(means[0]) & set(means[1])))
    value = np.array([means[1][gene] - means[0][gene] for gene in genes])
    if len(genes) == 0 or not value.any():
        raise AppError(
            f"{start}, {goal}: the goal equals the start on {len(genes)} shared genes. Give two different populations."
        )
    return genes, value
