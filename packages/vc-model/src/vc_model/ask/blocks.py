"""Finished blocks of a long list of questions, kept beside the output until that is whole.

Each block is one file that appears at once; the archive's own checksums are its receipt. A start with the same question takes
what is there and answers the rest, so the output has the bytes of a run that nobody stopped. Another question drops them.
"""

import hashlib
import json
import shutil
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from vc_contracts.errors import OutputError

from vc_model.ask.answers import AnswerBlock, Answers
from vc_model.ask.rules import AnswerPlan
from vc_model.contracts.header import Config, Parents, make_header
from vc_model.predictor import Prediction

QUESTION = "question.json"
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of the intervals that are written
ARRAYS = ("mean_qg", "sd_qg", "width_ql", "supported_q")
NAMES = ("labels", "lines", "basis")


@dataclass(frozen=True, eq=False)
class ProfileRows:
    """Rows of predictions-v1.

    Attributes:
        labels: q perturbations.
        lines: q cell lines.
        basis: What the intervals of each were calibrated on.
        mean_qg: [q, g] float32 profiles.
        sd_qg: [q, g] float32 standard deviations.
        width_ql: [q, l] float32 half-widths of the intervals of `LEVELS`, in standard deviations.
        supported_q: [q] bool.
    """

    labels: list[str]
    lines: list[str]
    basis: list[str]
    mean_qg: np.ndarray
    sd_qg: np.ndarray
    width_ql: np.ndarray
    supported_q: np.ndarray


@dataclass(frozen=True, eq=False)
class FinishedBlock:
    """A block as it is written.

    Attributes:
        answers: Rows of the tables.
        rows: Rows of the predictions; None where no condition has numbers.
    """

    answers: Answers
    rows: ProfileRows | None


def finish(block: AnswerBlock) -> FinishedBlock:
    """What is written of a block."""
    if block.prediction is None or block.sd_qg is None:
        return FinishedBlock(block.answers, None)
    said, asked = block.prediction, block.conditions
    rows = ProfileRows(
        list(asked.perturbation),
        list(map(str, asked.cell_line.tolist())),
        said.basis_p,
        said.mean_pg,
        block.sd_qg,
        widths(said),
        said.supported_p,
    )
    return FinishedBlock(block.answers, rows)


def widths(prediction: Prediction) -> np.ndarray:
    """[q, l] float32 half-widths of the intervals of `LEVELS`."""
    return np.stack([prediction.conformal.width(prediction.table_p, level) for level in LEVELS], axis=1)


class KeptBlocks:
    """A folder of finished blocks of one question.

    Attributes:
        header: The header of the output, as the first start made it.
        n_found: Blocks that an earlier start had finished.
    """

    def __init__(self, dpath: Path, plan: AnswerPlan, *, parents: Parents = None, config: Config = None) -> None:
        """Open the folder; what is kept there of another question goes.

        Args:
            dpath: The folder; made where it does not exist.
            plan: What is asked.
            parents: Name -> sha256 of what answers are made from.
            config: How they are made.

        Raises:
            OutputError: If something else lies there.
        """
        self.dpath = dpath
        question = _digest(plan, parents, config)
        header = _header_of(dpath, question)
        if header is None:
            forget_blocks(dpath)
            dpath.mkdir(parents=True, exist_ok=True)
            header = make_header("predictions", parents=parents, config=config)
            temporary = dpath / "question.tmp"
            temporary.write_text(json.dumps({"question": question, "header": header}))
            temporary.rename(dpath / QUESTION)
        self.header = header
        for half in dpath.glob("*.tmp"):
            half.unlink()
        self.n_found = len(list(dpath.glob("*.npz")))

    def load(self, number: int) -> FinishedBlock | None:
        """A finished block; None where there is none, or a damaged one."""
        path = self._path(number)
        if not path.exists():
            return None
        try:
            with path.open("rb") as stream, np.load(stream) as stored:
                content = {name: stored[name] for name in stored.files}
            answers = Answers(_table(content["table"]), _table(content["genes"]))
            if "mean_qg" not in content:
                return FinishedBlock(answers, None)
            names = {name: content[name].astype(str).tolist() for name in NAMES}
            return FinishedBlock(answers, ProfileRows(**names, **{name: content[name] for name in ARRAYS}))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            path.unlink()
            return None

    def save(self, number: int, block: FinishedBlock) -> None:
        """Keep a block; it is there whole or not at all."""
        content: dict[str, Any] = {"table": _bytes(block.answers.table), "genes": _bytes(block.answers.genes)}
        if block.rows is not None:
            content |= {name: np.array(getattr(block.rows, name)) for name in NAMES}
            content |= {name: getattr(block.rows, name) for name in ARRAYS}
        temporary = self._path(number).with_suffix(".tmp")
        with temporary.open("wb") as stream:
            np.savez(stream, **content)
        temporary.rename(self._path(number))

    def _path(self, number: int) -> Path:
        return self.dpath / f"{number:06d}.npz"


def forget_blocks(dpath: Path) -> None:
    """Remove the folder of finished blocks, where there is one.

    Raises:
        OutputError: If something else lies in it.
    """
    if not dpath.exists():
        return
    strangers = [path.name for path in dpath.iterdir() if path.suffix not in (".npz", ".tmp") and path.name != QUESTION]
    if strangers:
        do = "Move it away."
        raise OutputError(dpath, "output", "nothing but unfinished answers", f"other files: {strangers[:3]}", do)
    shutil.rmtree(dpath)


def _header_of(dpath: Path, question: str) -> dict[str, Any] | None:
    """The header that was kept with this question; None where another one, or none, lies there."""
    try:
        found = json.loads((dpath / QUESTION).read_text())
    except (OSError, ValueError):
        return None
    same = isinstance(found, dict) and found.get("question") == question and isinstance(found.get("header"), dict)
    return found["header"] if same else None


def _digest(plan: AnswerPlan, parents: Parents, config: Config) -> str:
    """A name of everything that answers depend on."""
    conditions = plan.conditions
    actions = [[action.targets, action.mode, action.dose] for action in conditions.actions]
    asked = [list(conditions.perturbation), list(map(str, conditions.cell_line.tolist())), actions, asdict(plan.rules)]
    text = json.dumps([asked, dict(parents or {}), dict(config or {})], default=str)
    digest = hashlib.sha256(text.encode())
    if conditions.contexts is not None:
        digest.update(np.ascontiguousarray(conditions.contexts.base_cg).tobytes())
    return digest.hexdigest()


def _bytes(table: dict[str, list[Any]]) -> np.ndarray:
    """[b] uint8, a table as parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(table), sink)
    return np.frombuffer(sink.getvalue(), np.uint8)


def _table(data: np.ndarray) -> dict[str, list[Any]]:
    """The table that `_bytes` packed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.read_table(pa.BufferReader(data.tobytes())).to_pydict()
