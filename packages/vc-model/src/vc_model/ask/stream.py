"""Answers to disk, block by block: predictions-v1 as .h5ad, and the tables beside it.

The .h5ad is written with h5py alone, in the encoding of AnnData, so that 20,000 conditions x 18,000 genes need no more
memory than one block, and one gene no import of a second.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from vc_contracts.text.names import table_cell

from vc_model.ask.answers import Answers
from vc_model.ask.blocks import LEVELS, ProfileRows
from vc_model.table.effects import Contexts

if TYPE_CHECKING:
    import h5py

CONTROL = "control"


class PredictionWriter:
    """Writes a predictions-v1 .h5ad whose rows arrive in blocks; control rows come first.

    Use as a context manager; the file is whole when the block ends without an error.
    """

    def __init__(
        self,
        path: Path,
        model: str,
        contexts: Contexts,
        base_lg: np.ndarray,
        lines: Sequence[str],
        n_rows: int,
        header: Mapping[str, Any],
    ) -> None:
        """Open the file and write the control rows.

        Args:
            path: The file to write.
            model: The model's name.
            contexts: Names the genes.
            base_lg: [l, g] unperturbed profile of each line.
            lines: The l cell lines that are asked.
            n_rows: Conditions that will be written.
            header: Of predictions-v1.
        """
        import h5py

        shape = (len(lines) + n_rows, len(contexts.genes))
        self.file = h5py.File(path, "w", libver="latest")
        self.file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        self.mean = _array(self.file, "X", shape)
        for name in ("layers", "obsm", "uns", "varm", "obsp", "varp"):
            _dict(self.file, name)
        self.sd = _array(self.file["layers"], "sd", shape)
        self.width_nl = np.zeros((shape[0], len(LEVELS)), np.float32)
        self.supported_n = np.ones(shape[0], bool)
        self.labels, self.lines, self.basis = [CONTROL] * len(lines), list(lines), ["control"] * len(lines)
        self.mean[: len(lines)], self.sd[: len(lines)] = base_lg, 0
        self.at, self.genes = len(lines), contexts.genes
        uns = {"space": "log1p_cp10k", "unit": "profile", "model": model}
        uns["contract"] = json.dumps(dict(header))
        for name, text in uns.items():
            _string(self.file["uns"], name, text)

    def write(self, block: ProfileRows) -> None:
        """Append the rows of a block."""
        rows = slice(self.at, self.at + len(block.labels))
        self.mean[rows], self.sd[rows] = block.mean_qg, block.sd_qg
        self.width_nl[rows], self.supported_n[rows] = block.width_ql, block.supported_q
        self.labels += block.labels
        self.lines += block.lines
        self.basis += block.basis
        self.at = rows.stop

    def __enter__(self) -> "PredictionWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is None:
            self._finish()
        with contextlib.suppress(Exception):
            self.file.close()

    def _finish(self) -> None:
        obs = _frame(self.file, "obs", [f"{line}|{name}" for line, name in zip(self.lines, self.labels, strict=True)])
        obs.attrs["column-order"] = np.array(
            ["perturbation", "cell_line", "is_control", "supported", "interval_basis"], dtype=object
        )
        for name, values in (
            ("perturbation", self.labels),
            ("cell_line", self.lines),
            ("interval_basis", self.basis),
        ):
            _categorical(obs, name, values)
        _plain(obs, "is_control", np.array([label == CONTROL for label in self.labels]))
        _plain(obs, "supported", self.supported_n)
        var = _frame(self.file, "var", list(self.genes))
        var.attrs["column-order"] = np.array([], dtype=object).astype("S1")
        _plain(self.file["obsm"], "interval_width", self.width_nl)
        _plain(self.file["uns"], "interval_levels", np.array(LEVELS))
        self.file.close()


def write_tables(answers: Answers, dpath: Path) -> None:
    """Write `answers.tsv`, `answers.parquet` and `genes.parquet` into a folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(answers.table), dpath / "answers.parquet")
    pq.write_table(
        pa.table(answers.genes) if answers.genes else pa.table({"perturbation": []}), dpath / "genes.parquet"
    )
    with (dpath / "answers.tsv").open("w", encoding="utf-8") as stream:
        stream.write("\t".join(answers.table) + "\n")
        for row in zip(*answers.table.values(), strict=True):
            stream.write("\t".join(map(cell_text, row)) + "\n")


def cell_text(value: Any) -> str:
    """A value as a spreadsheet takes it: empty where there is none, four digits, yes or no."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return table_cell(" ".join(str(value).replace("\0", " ").splitlines()).replace("\t", " "))


def _array(parent: "h5py.Group", name: str, shape: tuple[int, int]) -> "h5py.Dataset":
    made = parent.create_dataset(name, shape, np.float32)
    made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    return made


def _plain(parent: "h5py.Group", name: str, values: np.ndarray) -> None:
    made = parent.create_dataset(name, data=values)
    made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def _dict(parent: "h5py.Group", name: str) -> None:
    parent.create_group(name).attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})


def _string(parent: "h5py.Group", name: str, text: str) -> None:
    import h5py

    made = parent.create_dataset(name, data=text, dtype=h5py.string_dtype())
    made.attrs.update({"encoding-type": "string", "encoding-version": "0.2.0"})


def _strings(parent: "h5py.Group", name: str, values: Sequence[str]) -> None:
    import h5py

    made = parent.create_dataset(name, data=np.array(values, dtype=object), dtype=h5py.string_dtype())
    made.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})


def _frame(parent: "h5py.Group", name: str, index: Sequence[str]) -> "h5py.Group":
    group = parent.create_group(name)
    group.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
    _strings(group, "_index", index)
    return group


def _categorical(parent: "h5py.Group", name: str, values: Sequence[str]) -> None:
    kinds, codes = np.unique(np.array(values, dtype=str), return_inverse=True)
    group = parent.create_group(name)
    group.attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False})
    _strings(group, "categories", kinds.tolist())
    _plain(group, "codes", codes.astype(np.int32))
