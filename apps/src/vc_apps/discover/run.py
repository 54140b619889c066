"""Carries out `vc discover VERB`: reads, asks, writes the answer whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from vc_apps.discover import settings as wishes
from vc_apps.discover import sources
from vc_apps.outputs import AppError, check_out

if TYPE_CHECKING:
    from vc_model.plan.bank import EffectBank
    from vc_model.plan.library import Library
    from vc_model.plan.results import Decision


def discover(settings: wishes.Discover) -> None:
    """Answer one question and write the answer.

    Args:
        settings: The verb and what it was given.

    Raises:
        OutputError: If --out is taken.
        AppError: If something is missing.
        VcModelError: If the question is refused.
    """
    from vc_contracts import write_whole

    verb = settings.verb
    kind = f"answer of vc discover {type(verb).__name__.lower()}"
    check_out(verb, kind)
    decision = VERBS[type(verb)](verb)
    with write_whole(verb.out, kind=kind, overwrite=verb.overwrite, make_parent=True) as dpath:
        dpath.mkdir()
        decision.write(dpath)
    if verb.json:
        from vc_contracts.command import print_json

        print_json({"answer": decision.answer, "called": decision.called, "doubts": decision.doubts, "out": verb.out,
                    "table": decision.table.to_dict("records")})  # fmt: skip
        return
    print(decision.answer)
    for text in decision.doubts:
        print(f"doubt: {text}")
    print(f"{verb.out / 'page.html'}")


def _next(verb: wishes.Next) -> "Decision":
    from vc_model.plan.next import Goal
    from vc_model.plan.propose import propose
    from vc_model.plan.query import Scores, make_scores, read_scores
    from vc_model.plan.rounds import Plan

    measured = Scores((), np.zeros(0))
    names: list[str] = []
    features = list(verb.features)
    if verb.run is not None:
        import pandas as pd

        table = sources.read_run(verb.run)
        size = pd.Series(np.linalg.norm(table.delta_pg, axis=1), index=table.conditions.perturbation)
        size = size[[len(action.targets) == 1 for action in table.conditions.actions]].groupby(level=0).mean()
        measured = make_scores(pd.Series(size.index), pd.Series(size.to_numpy()), None, str(verb.run))
        names = [action.label for action in sources.run_actions(verb.run)]
        features = features or [verb.run / "features.zarr"]
    if verb.scores is not None:
        measured = read_scores(verb.scores, verb.name_column, verb.score_column)
    if verb.library is not None:
        names = sources.read_names(verb.library)
    elif verb.run is None:
        names = sorted({*measured.names, *(name for fpath in features for name in _entities(fpath))})
    library = _library(names, features)
    listed = tuple(sources.read_names(verb.essentials)) if verb.essentials else ()
    if verb.strategy == "essentials" and not listed:
        raise AppError("--strategy essentials needs --essentials, a text file of names.")
    plan = Plan(
        goal=Goal(verb.direction, verb.hit_share),
        strategy=verb.strategy,
        batch=verb.batch,
        budget=verb.budget,
        seed=verb.seed,
        essentials=listed,
    )
    return propose(library, measured, plan, verb.state)


def _entities(fpath: Path) -> list[str]:
    from vc_model.plan.library import read_source

    return [str(name) for name in read_source(fpath)[0]]


def _library(names: list[str], features: list[Path]) -> "Library":
    from vc_model.plan.library import make_library, read_source

    return make_library(names, {fpath.name: read_source(fpath) for fpath in features})


def _bank(verb: wishes.Target | wishes.Network) -> "EffectBank":
    from vc_model.plan.bank import model_bank, read_bank
    from vc_model.plan.extend import extend

    if verb.effects is not None:
        bank = read_bank(verb.effects, verb.context)
        features = list(getattr(verb, "features", ()))
        if features and verb.library is not None:
            names = sorted({*bank.names, *sources.read_names(verb.library)})
            bank = extend(bank, _library(names, features), seed=verb.seed)
        return bank
    fitted = sources.read_model(verb)
    return model_bank(fitted, sources.context_of(verb, fitted), sources.read_actions(verb, fitted))


def _checked(verb: wishes.Asked, decision: "Decision", what: Literal["singles", "combinations"]) -> "Decision":
    """Calls nothing where a model was asked that was no better than chance on what the run had held out.

    The targets of a run were measured, and its model was fitted on all of them; others (--library) are predicted.
    """
    from vc_model.plan.proof import gated

    if getattr(verb, "effects", None) is not None:
        return decision
    if what == "singles" and verb.library is None and verb.model is None:
        return decision
    return gated(decision, sources.proof_of(verb, what), strict=what == "singles")


def _target(verb: wishes.Target) -> "Decision":
    from vc_model.plan.target import target

    genes, value_g = sources.wanted(verb.signature, verb.start, verb.goal, verb.like, verb.run, verb.context)
    background = sources.background(verb.background, genes)
    made = target(genes, value_g, _bank(verb), max_size=verb.max_size, background_g=background, seed=verb.seed)
    return _checked(verb, made, "singles")


def _moa(verb: wishes.Moa) -> "Decision":
    from vc_model.plan.library import read_frame
    from vc_model.plan.moa import moa

    genes, value_g = sources.wanted(verb.signature, verb.start, verb.goal, verb.like, verb.run, verb.context)
    known = None
    if verb.mechanisms is not None:
        table = read_frame(verb.mechanisms)
        known = dict(zip(table.iloc[:, 0].astype(str), table.iloc[:, 1].astype(str), strict=True))
    background = sources.background(verb.background, genes)
    made = moa(genes, value_g, _bank(verb), mechanism=known, background_g=background, seed=verb.seed)
    return _checked(verb, made, "singles")


def _combo(verb: wishes.Combo) -> "Decision":
    from vc_model.plan.ask_model import goal_on
    from vc_model.plan.combo import combo
    from vc_model.plan.library import check_known
    from vc_model.plan.query import read_profile

    fitted = sources.read_model(verb)
    actions = sources.read_actions(verb, fitted)
    by_name = {action.label: action for action in actions}
    if verb.fixed is not None:
        check_known([verb.fixed], by_name, "--fixed", "the library")
    goal = None if verb.signature is None else goal_on(fitted, *read_profile(verb.signature))
    fixed = None if verb.fixed is None else by_name[verb.fixed]
    proof = sources.proof_of(verb, "interactions") if goal is None else None
    context = sources.context_of(verb, fitted)
    made = combo(fitted, context, actions[: verb.most], fixed=fixed, goal_g=goal, proof=proof)
    return made if goal is None else _checked(verb, made, "combinations")


def _lethal(verb: wishes.Lethal) -> "Decision":
    from vc_model.plan.lethal import lethal, read_pairs

    if (verb.pairs is None) == (verb.viability is None):
        raise AppError("expected one of --pairs, measured pair scores, and --viability with --run or --model.")
    if verb.pairs is None:
        return _lethal_by_model(verb)
    table = read_pairs(verb.pairs, verb.score_column)
    library = None
    if verb.features:
        more = sources.read_names(verb.library) if verb.library else []
        library = _library(sorted({*table["gene_a"], *table["gene_b"], *more}), list(verb.features))
    elif verb.library:
        raise AppError("--library needs --features: genes without measured pairs are known by nothing else.")
    return lethal(table, library, query=verb.query, below=verb.below, seed=verb.seed)


def _lethal_by_model(verb: wishes.Lethal) -> "Decision":
    from vc_model.plan.library import check_known
    from vc_model.plan.proof import gated
    from vc_model.plan.query import read_scores
    from vc_model.plan.viability import lethal_by_model

    assert verb.viability is not None
    fitted = sources.read_model(verb)
    actions = sources.read_actions(verb, fitted)
    by_name = {action.label: action for action in actions}
    if verb.query is not None:
        check_known([verb.query], by_name, "--query", "the library")
    fixed = None if verb.query is None else by_name[verb.query]
    viability = read_scores(verb.viability)
    context = sources.context_of(verb, fitted)
    made = lethal_by_model(fitted, context, actions, viability, fixed=fixed, seed=verb.seed)
    return gated(made, sources.proof_of(verb, "interactions"))


def _biomarker(verb: wishes.Biomarker) -> "Decision":
    from vc_model.plan.biomarker import biomarker
    from vc_model.plan.library import check_known, check_unique, read_frame
    from vc_model.plan.query import read_scores

    response, table = read_scores(verb.response), read_frame(verb.baseline)
    table = table.set_index(table.columns[0])
    check_unique(table.index.astype(str), str(verb.baseline))
    check_known(verb.adjust, set(table.columns), "--adjust", str(verb.baseline))
    shared = [name for name in response.names if name in set(table.index.astype(str))]
    if not shared:
        raise AppError(f"{verb.baseline}: shares no cell line with {verb.response}; first are {list(table.index[:3])}.")
    values = table.loc[shared]
    features = [name for name in values.select_dtypes("number").columns if name not in verb.adjust]
    score = dict(zip(response.names, response.score_n, strict=True))
    unfit = [name for name in verb.adjust if values[name].dtype.kind not in "fiub" or values[name].isna().any()]
    if unfit:
        raise AppError(
            f"--adjust: expected finite numbers, found others in {', '.join(unfit)}. Code a lineage as 0 and 1."
        )
    adjust = values[list(verb.adjust)].to_numpy(float) if verb.adjust else None
    return biomarker(
        tuple(shared), np.array([score[name] for name in shared]), tuple(features), values[features].to_numpy(float),
        adjust_nk=adjust, seed=verb.seed,
    )  # fmt: skip


def _safety(verb: wishes.Safety) -> "Decision":
    from vc_model.plan.ask_model import goal_on
    from vc_model.plan.library import read_named_gmt
    from vc_model.plan.query import read_profile
    from vc_model.plan.safety import safety

    fitted = sources.read_model(verb)
    if not verb.panels.is_file():
        raise AppError(
            f"{verb.panels}: no such file. Give a .gmt file: name, description and members with tabs between."
        )
    panels = read_named_gmt(verb.panels)
    goal = None if verb.signature is None else goal_on(fitted, *read_profile(verb.signature))
    contexts = None if verb.context is None else [verb.context]
    return _checked(
        verb, safety(fitted, sources.read_actions(verb, fitted), panels, contexts=contexts, goal_g=goal), "singles"
    )


def _escape(verb: wishes.Escape) -> "Decision":
    from vc_model.plan.escape import escape
    from vc_model.plan.library import check_known

    fitted = sources.read_model(verb)
    actions = sources.read_actions(verb, fitted)
    by_name = {action.label: action for action in actions}
    check_known([verb.given], by_name, "--given", "the library")
    return _checked(
        verb, escape(fitted, sources.context_of(verb, fitted), by_name[verb.given], actions), "combinations"
    )


def _steer(verb: wishes.Steer) -> "Decision":
    from vc_model.plan.ask_model import goal_on
    from vc_model.plan.steer import steer

    fitted = sources.read_model(verb)
    goal = goal_on(fitted, *sources.wanted(verb.signature, None, None, verb.like, verb.run, verb.context))
    context = sources.context_of(verb, fitted)
    return _checked(
        verb, steer(fitted, context, goal, sources.read_actions(verb, fitted), steps=verb.steps), "combinations"
    )


def _network(verb: wishes.Network) -> "Decision":
    from vc_model.plan.network import network

    return _checked(verb, network(_bank(verb)), "singles")


def _mechanism(verb: wishes.Mechanism) -> "Decision":
    from vc_model.plan.bank import make_bank, read_bank
    from vc_model.plan.mechanism import mechanism

    banks = [read_bank(fpath, verb.context) for fpath in verb.effects]
    if verb.run is not None:
        table = sources.read_run(verb.run)
        names = list(table.conditions.labels)
        banks.append(make_bank(names, table.genes, table.delta_pg, str(verb.run.name)))
    if not banks:
        raise AppError("no data: give --effects, one .h5ad for each data set, or --run.")
    return mechanism(verb.gene, banks, seed=verb.seed)


VERBS: dict[type, Callable[..., "Decision"]] = {
    wishes.Next: _next,
    wishes.Target: _target,
    wishes.Moa: _moa,
    wishes.Combo: _combo,
    wishes.Lethal: _lethal,
    wishes.Biomarker: _biomarker,
    wishes.Safety: _safety,
    wishes.Escape: _escape,
    wishes.Steer: _steer,
    wishes.Network: _network,
    wishes.Mechanism: _mechanism,
}
"""Settings class -> what carries it out."""
