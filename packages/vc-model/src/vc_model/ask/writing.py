"""Answers to many questions into one file: block by block, in memory of one block, and a start that was cut off goes on."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from vc_contracts.progress import progress, say

from vc_model.ask.answers import Answers, Usual, answer_block
from vc_model.ask.blocks import FinishedBlock, KeptBlocks, finish
from vc_model.ask.rules import AnswerPlan
from vc_model.ask.stream import PredictionWriter
from vc_model.contracts.header import Config, Parents, make_header
from vc_model.predictor import Fitted
from vc_model.train.interrupt import InterruptedRun


def write_answers(
    fitted: Fitted,
    plan: AnswerPlan,
    path: Path,
    *,
    parents: Parents = None,
    config: Config = None,
    keep: Path | None = None,
) -> Answers:
    """Answer a plan and write the profiles; nothing is written where no condition has numbers.

    Args:
        fitted: Any fitted model; one of a table of effects writes effects-v1.
        plan: What is answered.
        path: The file to write; the caller sees to it that it appears whole or not at all.
        parents: Name -> sha256 of what the predictions are made from.
        config: How they are made, for the header.
        keep: A folder in which finished blocks stay until the caller removes them.

    Raises:
        InterruptedRun: On Ctrl-C, where finished blocks are kept.
    """
    kept = None if keep is None else KeptBlocks(keep, plan, parents=parents, config=config)
    if kept is not None and kept.n_found:
        say(f"going on: {kept.n_found} blocks of answers were finished before")
    header = make_header("predictions", parents=parents, config=config) if kept is None else kept.header
    blocks, total, n_done = list(plan.blocks()), Answers(), 0
    usual: Usual = {}
    try:
        with _writer(fitted, plan, path, header) as writer:
            for number, rows in enumerate(progress(blocks, desc="answers", unit="block", shown=len(blocks) > 1)):
                block = _block(fitted, plan, rows, usual, number, kept)
                if writer is not None and block.rows is not None:
                    writer.write(block.rows)
                total.extend(block.answers)
                n_done = number + 1
    except KeyboardInterrupt:
        if kept is None:
            raise
        words = f"{n_done} of {len(blocks)} blocks of answers are kept in {keep}; the same command goes on"
        raise InterruptedRun(words) from None
    if not fitted.contexts.has_profiles and len(plan.said):
        from vc_model.emit.effects import write_predicted

        write_predicted(fitted, plan.conditions.subset(plan.said), path, parents=parents, config=config)
    return total


def _block(
    fitted: Fitted, plan: AnswerPlan, rows: np.ndarray, usual: Usual, number: int, kept: KeptBlocks | None
) -> FinishedBlock:
    """A block that was kept, or a new one, which is kept."""
    found = None if kept is None else kept.load(number)
    if found is not None:
        return found
    block = finish(answer_block(fitted, plan, rows, usual))
    if kept is not None:
        kept.save(number, block)
    return block


def _writer(
    fitted: Fitted, plan: AnswerPlan, path: Path, header: Mapping[str, Any]
) -> contextlib.AbstractContextManager[PredictionWriter | None]:
    """Writes the profiles, where the model has any and a condition gets numbers."""
    n_said = len(plan.said)
    if not fitted.contexts.has_profiles or n_said == 0:
        return contextlib.nullcontext()
    conditions = plan.conditions
    row_of = {line: row for row, line in reversed(list(enumerate(conditions.cell_line.tolist())))}
    lines = list(dict.fromkeys(conditions.cell_line.tolist()))
    base_lg = fitted.predict(conditions.subset(np.array([row_of[line] for line in lines]))).base_pg
    contexts = conditions.contexts_or(fitted.contexts)
    return PredictionWriter(path, fitted.name, contexts, base_lg, lines, n_said, header)
