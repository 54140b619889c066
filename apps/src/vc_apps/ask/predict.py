"""`vc predict`: questions to a model, or the held-out conditions of a split; one spelling for both."""

import dataclasses
from typing import TYPE_CHECKING

from vc_apps.ask.compounds import describe_compounds, read_compounds
from vc_apps.ask.settings import Predict
from vc_apps.outputs import AppError, check_out, check_space, say, write_json

if TYPE_CHECKING:
    from vc_model.ask.answers import Answers
    from vc_model.ask.model import AskModel
    from vc_model.ask.questions import Questions
    from vc_model.ask.rules import AnswerRules
    from vc_model.table.effects import Contexts

MOST_REPORTED = 2000
SOURCES = ("genes", "genes_file", "compounds", "all_genes", "like")


def predict(settings: Predict) -> None:
    """Answer questions, or predict a part of a split.

    Raises:
        AppError: If the request cannot be carried out.
        VcModelError: If an input or a question is refused.
    """
    if settings.part is not None or settings.screen is not None:
        predict_part(settings)
        return
    check_out(settings, "answers")
    from vc_model.ask.model import load
    from vc_model.ask.rules import AnswerRules

    given = [name for name in SOURCES if getattr(settings, name)]
    if not given:
        raise AppError("predict: expected a question, found none. Give --genes, --genes-file, --compounds, --all-genes, "
                       "--like, or --part with a screen and a split.")  # fmt: skip
    rules = AnswerRules(limit=settings.limit, force=settings.force, top=settings.top, change=settings.change)
    model = load(settings.model, plugin=settings.plugin)
    if settings.cells is None:
        model = model.about(settings.cell_line, settings.mode)
    if settings.compounds is not None:
        model = describe_compounds(settings.compounds, model)
    contexts = _contexts(settings, model)
    questions = model.questions(
        _names(settings, model),
        mode=settings.mode,
        cell_line=settings.cell_line,
        dose=settings.dose,
        force=settings.force,
        contexts=contexts,
    )
    for note in questions.notes:
        say(f"note: {note}")
    n = len(questions.conditions)
    if settings.report and n > MOST_REPORTED:
        raise AppError(
            f"--report: expected at most {MOST_REPORTED:,} conditions, found {n:,}; nobody could read the page. Ask fewer, "
            "or leave --report out and open answers.tsv."
        )
    if settings.dry_run:
        answered = model.count_answered(questions, rules)
        print(f"would answer {answered:,} of {n:,} conditions and write {settings.out}/")
        return
    answers = write_answers(settings, model, questions, rules)
    _print(settings, answers)


def write_answers(settings: Predict, model: "AskModel", questions: "Questions", rules: "AnswerRules") -> "Answers":
    """Write the folder, whole or not at all; of long lists, finished blocks outlive a process that is killed."""
    from vc_contracts import write_whole
    from vc_contracts.hashing import sha256_tree
    from vc_model.ask.blocks import forget_blocks
    from vc_model.ask.rules import ROWS_AT_ONCE
    from vc_model.ask.stream import write_tables

    n = len(questions.conditions)
    keep = settings.out.with_name(f".{settings.out.name}.parts")
    with write_whole(settings.out, kind="answers", overwrite=settings.overwrite, make_parent=True) as dpath:
        dpath.mkdir()
        if n <= ROWS_AT_ONCE:
            forget_blocks(keep)
        check_space(dpath, (8 if n <= ROWS_AT_ONCE else 16) * n * len(model.fitted.contexts.genes))
        sources = (settings.model, settings.cells, settings.compounds, settings.plugin)
        parents = {path.name: sha256_tree(path) for path in sources if path is not None}
        config = {"limit": rules.limit, "force": rules.force} | getattr(model.fitted, "told", {})
        answers = model.write(
            questions,
            dpath / "predictions.h5ad",
            rules,
            parents=parents,
            config=config,
            keep=keep if n > ROWS_AT_ONCE else None,
        )
        write_tables(answers, dpath)
        if settings.report:
            from vc_apps.ask.page import write_page

            write_page(answers, dpath / "report.html", title=str(settings.model))
        write_json(dpath / "run.json", {"command": "predict", "settings": dataclasses.asdict(settings)})
    forget_blocks(keep)
    return answers


def predict_part(settings: Predict) -> None:
    """Predict one part of a split with any checkpoint and write a predictions-v1 file."""
    if settings.screen is None or settings.splits is None:
        raise AppError(
            "--part: expected a screen and its split, found fewer. Type: vc predict MODEL SCREEN SPLITS -o OUT."
        )
    if settings.out.suffix not in (".zarr", ".h5ad"):
        raise AppError(f"--out {settings.out}: expected a name that ends in .zarr or .h5ad.")
    from vc_model.contracts.effects import is_effects

    check_out(settings, "effects" if is_effects(settings.screen) else "predictions")
    from vc_model.ask.plugin import using
    from vc_model.emit.output import predict_checkpoint

    part = settings.part or "test"
    with using(settings.plugin):
        name, n = predict_checkpoint(settings.model, settings.screen, settings.splits, settings.out, part)
    print(f"wrote {settings.out}: {name} on {n} {part} conditions. Next: score it with vc-eval")


def _names(settings: Predict, model: "AskModel") -> list[str]:
    """Everything that is asked, in the order in which it was given."""
    from vc_model.ask.questions import QuestionError, read_names

    names = list(settings.genes)
    if settings.genes_file is not None:
        names += read_names(settings.genes_file)
    if settings.like is not None:
        names += read_names(settings.like)
    if settings.compounds is not None:
        names += [name for name, _ in read_compounds(settings.compounds)]
    if settings.all_genes:
        names += list(dict.fromkeys([*model.memory.targets, *model.fitted.contexts.genes]))
    if not names:
        raise QuestionError("names: expected at least one target, found an empty list. Name genes, e.g. --genes TP53.")
    return names


def _contexts(settings: Predict, model: "AskModel") -> "Contexts | None":
    if settings.cells is None:
        return None
    from vc_model.ask.controls import read_contexts

    if not settings.cells.exists():
        raise AppError(f"--cells {settings.cells}: expected unperturbed cells, found no such file. Check the path.")
    like = model.fitted.contexts
    if not like.has_profiles:
        raise AppError(
            f"--cells {settings.cells}: expected a model of cells, found one of a table of effects, which knows no control cells. "
            "Leave --cells out, or fit on a screen."
        )
    if settings.cells.suffix == ".h5ad":
        from vc_apps.ask.cells import read_h5ad

        contexts, notes = read_h5ad(settings.cells, like, cell_line=settings.cells_line, symbol=settings.cells_symbol)
    else:
        contexts, notes = read_contexts(settings.cells, like)
    for note in notes:
        say(f"note: {note}")
    return contexts


def _print(settings: Predict, answers: "Answers") -> None:
    from collections import Counter

    from vc_contracts.command import print_json

    n, table = len(answers), answers.table
    answered = sum(table["answered"])
    if settings.json:
        print_json([dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)])
        return
    for name, count in Counter(table["support"]).most_common():
        print(f"{count:>7,} {name}")
    if n <= 5:
        for row in range(n):
            words = table["note"][row] or f"up: {table['up'][row][:100]}"
            print(f"{table['perturbation'][row]} in {table['cell_line'][row]}: {table['support'][row]} "
                  f"({table['support_why'][row]}); {words}")  # fmt: skip
    elif any("this is the mean" in note for note in table["note"]):
        same = sum("this is the mean" in note for note in table["note"])
        print(f"{same:,} answers are the mean of all perturbations; nothing known about these targets moved them")
    print(f"wrote {settings.out}/: {answered:,} of {n:,} conditions answered; open {settings.out}/answers.tsv"
          + ("" if answered == n else "; --force shows the extrapolations, too"))  # fmt: skip
