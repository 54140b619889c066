"""A saved model that answers: `vc_model.load("model").effects(["TP53"], cell_line="K562")`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vc_model.ask.answers import Answers, answer
from vc_model.ask.memory import Memory
from vc_model.ask.precedent import find
from vc_model.ask.questions import QuestionError, Questions, make_questions
from vc_model.ask.relatives import RELATED
from vc_model.ask.rules import AnswerRules, plan_answers
from vc_model.ask.verdict import ELSEWHERE, HERE, NOWHERE, RELATIVE
from vc_model.contracts.header import Config, Parents
from vc_model.errors import CheckpointError
from vc_model.predictor import Fitted
from vc_model.table.effects import Contexts

if TYPE_CHECKING:
    import pandas as pd

OTHERS = "others"  # folder of a model with those of the other screens that it was fitted together with


@dataclass(frozen=True, eq=False)
class SupportMap:
    """What training knows of genes in contexts.

    Attributes:
        genes: n names.
        cell_lines: c contexts.
        kind_nc: [n, c] int, positions in `vc_model.ask.verdict.VERDICTS`.
        accuracy_nc: [n, c] share of what repeating the experiment would give that such conditions reached out of fold; NaN
            where none could be held out.
        measured_on: One dictionary a context, class -> the classes that its accuracy was measured on, in words: itself, and
            those that it cannot be told apart from.
    """

    genes: tuple[str, ...]
    cell_lines: tuple[str, ...]
    kind_nc: np.ndarray
    accuracy_nc: np.ndarray
    measured_on: tuple[dict[int, str], ...]


@dataclass(frozen=True, eq=False)
class AskModel:
    """A fitted model with what it remembers of its training data.

    Attributes:
        fitted: The model.
        memory: The summary of its training data.
        others: Models of the other screens that were fitted together with this one, each over its own genes.
    """

    fitted: Fitted
    memory: Memory
    others: "tuple[AskModel, ...]" = ()

    def about(self, cell_line: str | Sequence[str] = (), mode: str | None = None) -> "AskModel":
        """The model that questions about these cell lines go to: this one, or that of the one other screen that has them.

        Args:
            cell_line: One or several; none: this model.
            mode: How targets act; a screen that was perturbed so goes before others.

        Raises:
            QuestionError: If they are lines of several screens, which measured different genes.
        """
        lines = {cell_line} if isinstance(cell_line, str) else set(cell_line)
        if not lines or not self.others:
            return self
        everyone = (self, *self.others)
        have = [model for model in everyone if lines <= set(model.fitted.contexts.cell_lines)]
        acted = [model for model in have if mode is None or mode in model.memory.mode_names]
        if have:
            return (acted or have)[0]
        known = {line for model in everyone for line in model.fitted.contexts.cell_lines}
        if lines <= known:
            raise QuestionError(
                f"cell lines: expected those of one screen, found {', '.join(sorted(lines))} of several, which measured "
                "different genes. Ask about one screen's lines at a time."
            )
        near = ", ".join(sorted(known)[:10])
        raise QuestionError(
            f"cell line: expected one of {near}, found {', '.join(sorted(lines - known)[:5])}. For cells the model has not "
            "seen, give their unperturbed cells with --cells."
        )

    def questions(
        self,
        names: Sequence[str],
        *,
        mode: str | None = None,
        cell_line: str | Sequence[str] = (),
        dose: float | Sequence[float] = (),
        force: bool = False,
        contexts: Contexts | None = None,
    ) -> Questions:
        """Complete and check questions (`vc_model.ask.questions.make_questions`)."""
        return make_questions(
            self.memory,
            self.fitted.contexts,
            [names] if isinstance(names, str) else list(names),
            mode=mode,
            cell_lines=[cell_line] if isinstance(cell_line, str) else list(cell_line),
            doses=[dose] if isinstance(dose, int | float) else list(dose),
            force=force,
            new_contexts=contexts,
        )

    def answers(self, questions: Questions, rules: AnswerRules | None = None) -> Answers:
        """Answer checked questions."""
        total = Answers()
        for block in answer(self.fitted, self.memory, questions.conditions, rules or AnswerRules()):
            total.extend(block.answers)
        return total

    def count_answered(self, questions: Questions, rules: AnswerRules) -> int:
        """How many of the conditions get numbers; nothing is predicted for it."""
        return len(plan_answers(self.memory, questions.conditions, rules).said)

    def effects(
        self,
        names: Sequence[str],
        *,
        mode: str | None = None,
        cell_line: str | Sequence[str] = (),
        dose: float | Sequence[float] = (),
        contexts: Contexts | None = None,
        force: bool = False,
        top: int = 10,
        limit: float = 0.1,
    ) -> "pd.DataFrame":
        """What perturbing these targets does: one row a condition, the verdict before the numbers.

        Args:
            names: Targets; combinations as `A+B`.
            mode: How they act; the trained mode where there is only one.
            cell_line: One or several; all trained ones by default.
            dose: One or several, for compounds.
            contexts: Control cells of new contexts (`vc_model.ask.controls.read_contexts`).
            force: Give numbers of extrapolations, too.
            top: Genes that are named up, and down.
            limit: Least accuracy of such conditions, as a share of what repeating the experiment would give.

        Raises:
            QuestionError: If something of this cannot be asked.
        """
        import pandas as pd

        model = self if contexts is not None else self.about(cell_line, mode)
        asked = model.questions(names, mode=mode, cell_line=cell_line, dose=dose, force=force, contexts=contexts)
        return pd.DataFrame(model.answers(asked, AnswerRules(force=force, top=top, limit=limit)).table)

    def write(
        self,
        questions: Questions,
        path: Path,
        rules: AnswerRules,
        *,
        parents: Parents = None,
        config: Config = None,
        keep: Path | None = None,
    ) -> Answers:
        """Answer checked questions, profiles to a predictions-v1 .h5ad, block by block (`vc_model.ask.writing`).

        Args:
            questions: What to ask.
            path: The file to write; the caller sees to it that it appears whole or not at all.
            rules: How answers are made.
            parents: Name -> sha256 of what the predictions are made from.
            config: How they are made, for the header.
            keep: A folder in which finished blocks stay until the caller removes them (`vc_model.ask.blocks`).

        Returns:
            The answers. Nothing is written where no question is answered. A model of a table of effects writes effects-v1.
        """
        from vc_model.ask.writing import write_answers

        plan = plan_answers(self.memory, questions.conditions, rules)
        return write_answers(self.fitted, plan, path, parents=parents, config=config, keep=keep)

    def support(
        self, genes: Sequence[str] = (), *, mode: str | None = None, cell_lines: Sequence[str] = ()
    ) -> SupportMap:
        """What training knows of single targets in every context.

        Args:
            genes: Targets, read as the training screen spells them; by default every measured gene and every trained target.
            mode: How they would act; any trained mode by default.
            cell_lines: Contexts; by default every line with control cells.
        """
        memory = self.memory
        call = self.fitted.contexts.call
        called = tuple(dict.fromkeys(name if name in memory.targets else call(name) for name in genes))
        names = called or tuple(dict.fromkeys([*memory.targets, *self.fitted.contexts.genes]))
        lines = tuple(cell_lines) or self.fitted.contexts.cell_lines
        seen: dict[str, set[str]] = {}
        for line, action in memory.known.pairs:
            if len(action.targets) == 1 and (mode is None or action.mode in self.modes_of(mode)):
                seen.setdefault(action.targets[0], set()).add(line)
        elsewhere = {action.targets[0] for _, action in memory.known.pairs if len(action.targets) == 1}
        elsewhere |= {target for other in memory.others for target in other.targets}
        worth_n = memory.relatives.worth(memory.relatives.nearest(list(names))[1]).max(axis=1, initial=0)
        kind_nc = np.where(worth_n >= RELATED, RELATIVE, NOWHERE)[:, None].repeat(len(lines), axis=1)
        for at, name in enumerate(names):
            if name in elsewhere:
                kind_nc[at] = [HERE if line in seen.get(name, ()) else ELSEWHERE for line in lines]
        accuracy_nc = np.full(kind_nc.shape, np.nan)
        measured_on: tuple[dict[int, str], ...] = tuple({} for _ in lines)
        for column, line in enumerate(lines):
            for kind in np.unique(kind_nc[:, column]):
                found = find(memory.precedents, int(kind), line not in memory.lines)
                if found is not None and found.n:
                    accuracy_nc[kind_nc[:, column] == kind, column] = found.share
                    measured_on[column][int(kind)] = found.level
        return SupportMap(names, lines, kind_nc, accuracy_nc, measured_on)

    def modes_of(self, mode: str) -> tuple[int, ...]:
        """The number of a mode's name, as a tuple."""
        from vc_model.table.effects import MODES

        return (MODES.index(mode),) if mode in MODES else ()


def load(path: Path | str, *, plugin: Path | str | None = None) -> AskModel:
    """Open a model that `vc fit` wrote.

    Args:
        path: The model folder, checkpoint-v1 with a memory.
        plugin: The file of a user's own model, for a model that was fitted with one.

    Raises:
        CheckpointError: If the folder is no such model; the text says what to do.
    """
    from vc_model.ask.informed import FittedInformed
    from vc_model.ask.member import FittedMembers
    from vc_model.ask.plugin import FittedPlugin, using
    from vc_model.checkpoint import load_with_memory

    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(f"{path}: model: expected a folder that `vc fit` wrote, found none. Check the path.")
    with using(plugin):
        fitted, memory = load_with_memory(path)
        inner = fitted.base if isinstance(fitted, FittedInformed) else fitted
        own = inner.own if isinstance(inner, FittedMembers) else inner
        if isinstance(own, FittedPlugin):
            own.instance  # noqa: B018 made while its file is known, or refused
    if memory is None:
        raise CheckpointError(
            f"{path}: memory: expected what the model knows of its training data, found none, as an older or another "
            "command wrote this checkpoint. Fit it again with `vc fit`."
        )
    folder = path / OTHERS
    others = sorted(folder.iterdir()) if folder.is_dir() else []
    return AskModel(fitted, memory, tuple(load(other, plugin=plugin) for other in others))
