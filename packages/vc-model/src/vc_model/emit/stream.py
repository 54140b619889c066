"""Cells to disk, one condition after the other: memory of one block, and a start that was cut off goes on.

Beside the target stands a folder with one file per finished condition and what they were asked for. A restart with the same
question keeps the finished ones; with another it starts anew. In the end the blocks become one .h5ad, and the folder goes. The
bytes are those of a run that was never stopped.
"""

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from vc_contracts.progress import progress
from vc_contracts.whole import lock_output

from vc_model.contracts import PredictionFile
from vc_model.contracts.header import Config, Parents, make_header, whole
from vc_model.emit.cells import PLAIN, CellSource, Knobs, draw_cells
from vc_model.errors import VcModelError

QUESTION = "question.json"
CHUNK = 1 << 20  # values of one chunk of the file


@dataclass(frozen=True, eq=False)
class Panel:
    """Genes that are written, and where the model's lie among them.

    Attributes:
        genes: Names, in the order of the file.
        column_g: [g] for every gene of the model its place in `genes`.
    """

    genes: tuple[str, ...]
    column_g: np.ndarray

    @property
    def filled(self) -> tuple[str, ...]:
        """Genes that the model does not predict; they keep the mean of the control cells."""
        known = set(self.column_g.tolist())
        return tuple(gene for at, gene in enumerate(self.genes) if at not in known)


def make_panel(genes: tuple[str, ...], wanted: tuple[str, ...] | None) -> Panel:
    """The panel for a model's genes.

    Args:
        genes: Of the model.
        wanted: Of the file; None: the model's.

    Raises:
        VcModelError: If a wanted gene occurs twice, or a gene of the model is not wanted.
    """
    wanted = genes if wanted is None else tuple(wanted)
    place = {gene: at for at, gene in enumerate(wanted)}
    absent = [gene for gene in genes if gene not in place]
    if len(place) < len(wanted) or absent:
        raise VcModelError(
            f"genes: expected every name once and all {len(genes)} of the model, found {len(wanted) - len(place)} repeated and "
            f"{len(absent)} absent, e.g. {absent[:3]}. Give the challenge's list, or a model fitted on fewer genes."
        )
    return Panel(wanted, np.array([place[gene] for gene in genes]))


def stream_cells(
    out: Path,
    file: PredictionFile,
    source_of_line: Callable[[str], CellSource],
    n_cells: int | Mapping[str, int],
    seed: int,
    *,
    knobs: Knobs = PLAIN,
    wanted: tuple[str, ...] | None = None,
    with_controls: bool = True,
    parents: Parents = None,
    config: Config = None,
) -> int:
    """Write predicted profiles as a predictions-v1 .h5ad of cells with counts.

    Args:
        out: The .h5ad; replaced when whole.
        file: Predicted profiles, with a control row for every line.
        source_of_line: Gives the control cells of a line, over `wanted`.
        n_cells: Cells of each condition; one number, or by perturbation.
        seed: Of the draws; a condition's stream depends on its own names only.
        knobs: Amplitude and dispersion.
        wanted: Genes of the file, the model's among them; None: the model's. Others keep the mean of the control cells.
        with_controls: Whether the control cells are written too.
        parents: File name -> sha256 of what the predictions were made from.
        config: How they were made.

    Returns:
        Cells written.

    Raises:
        VcModelError: If the name does not end in .h5ad, or the genes do not fit.
    """
    if out.suffix != ".h5ad":
        raise VcModelError(f"{out}: expected a name that ends in .h5ad, which cells are streamed to.")
    panel = make_panel(tuple(file.genes), wanted)
    sizes = [
        0 if control else n_cells if isinstance(n_cells, int) else int(n_cells[label])
        for label, control in zip(file.perturbation, file.is_control, strict=True)
    ]
    parts = out.with_name(f".{out.name}.parts")
    out.parent.mkdir(parents=True, exist_ok=True)
    question = _question(file, panel, sizes, seed, knobs, parents, config, with_controls)
    rows = [row for row in range(len(sizes)) if with_controls or not file.is_control[row]]
    with lock_output(parts):
        header = _open_parts(parts, question, parents, config)
        sources: dict[str, CellSource] = {}
        for row in progress(rows, desc="cells"):
            target = parts / f"{row:06d}.npz"
            if target.exists():
                continue
            line = str(file.cell_line[row])
            if line not in sources:
                sources = {line: source_of_line(line)}  # one line's controls at a time
            _write_block(target, _emit(file, row, sources[line], panel, sizes[row], seed, knobs))
        n_written = _join(out, file, parts, rows, panel, header)
        shutil.rmtree(parts)
    return n_written


def _emit(
    file: PredictionFile, row: int, source: CellSource, panel: Panel, n_cells: int, seed: int, knobs: Knobs
) -> sp.csr_array:
    if file.is_control[row]:
        return sp.csr_array(source.count_ng.astype(np.float32))
    profile_g = source.mean_g.copy()
    profile_g[panel.column_g] = file.mean_ng[row]
    name = f"{file.cell_line[row]}|{file.perturbation[row]}"
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return sp.csr_array(draw_cells(source, profile_g, n_cells, rng, knobs)[0].astype(np.float32))


def _question(
    file: PredictionFile, panel: Panel, sizes: list[int], seed: int, knobs: Knobs, parents, config, with_controls: bool
) -> str:
    content = hashlib.sha256(np.ascontiguousarray(file.mean_ng).tobytes())
    names = [list(map(str, names)) for names in (file.perturbation, file.cell_line, panel.genes)]
    asked = [names, panel.column_g.tolist(), sizes, seed, asdict(knobs), dict(parents or {}), with_controls]
    content.update(json.dumps([*asked, dict(config or {})], default=str).encode())
    return content.hexdigest()


def _open_parts(parts: Path, question: str, parents, config) -> dict:
    """Keep finished blocks of the same question, drop others; the header that the first start made."""
    if (parts / QUESTION).exists():
        found = json.loads((parts / QUESTION).read_text())
        if found.get("question") == question:
            for half in parts.glob("*.tmp"):
                half.unlink()
            return found["header"]
        shutil.rmtree(parts)
    parts.mkdir(parents=True, exist_ok=True)
    header = make_header("predictions", parents=parents, config=config)
    (parts / "question.tmp").write_text(json.dumps({"question": question, "header": header}))
    (parts / "question.tmp").rename(parts / QUESTION)
    return header


def _write_block(target: Path, block: sp.csr_array) -> None:
    temporary = target.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        np.savez(stream, data=block.data, indices=block.indices.astype(np.int32), indptr=block.indptr.astype(np.int64))
    temporary.rename(target)


def _blocks(parts: Path, rows: list[int]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    for row in rows:
        with np.load(parts / f"{row:06d}.npz") as block:
            yield row, dict(block)


def _join(out: Path, file: PredictionFile, parts: Path, rows: list[int], panel: Panel, header: dict) -> int:
    import anndata
    import h5py
    import pandas as pd

    at, indptr, sizes = 0, [np.zeros(1, np.int64)], []
    with whole(out, kind="predictions") as temporary, h5py.File(temporary, "w") as store:
        store.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        group = store.create_group("X")
        kinds = {"data": np.float32, "indices": np.int32}
        for name, kind in kinds.items():
            group.create_dataset(name, shape=(0,), maxshape=(None,), dtype=kind, chunks=(CHUNK,))
        for _, block in _blocks(parts, rows):
            n_values = len(block["data"])
            for name in kinds:
                group[name].resize(at + n_values, axis=0)
                group[name][at:] = block[name]
            indptr.append(block["indptr"][1:] + at)
            sizes.append(len(block["indptr"]) - 1)
            at += n_values
        pointer = np.concatenate(indptr)
        group.create_dataset("indptr", data=pointer)
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0",
                            "shape": np.array([len(pointer) - 1, len(panel.genes)], np.int64)})  # fmt: skip
        label, line = (np.repeat(names[rows].astype(str), sizes) for names in (file.perturbation, file.cell_line))
        names = [f"{one}|{other}|{number}" for number, (one, other) in enumerate(zip(line, label, strict=True))]
        obs = pd.DataFrame({"perturbation": pd.Categorical(label), "cell_line": pd.Categorical(line),
                            "is_control": np.repeat(file.is_control[rows], sizes)}, index=pd.Index(names))  # fmt: skip
        anndata.io.write_elem(store, "obs", obs)
        anndata.io.write_elem(store, "var", pd.DataFrame(index=pd.Index(panel.genes)))
        uns: dict[str, Any] = {"contract": json.dumps(header), "space": "counts", "unit": "cell", "model": file.model}
        if panel.filled:
            uns["filled_genes"] = np.array(panel.filled, dtype=object)
        anndata.io.write_elem(store, "uns", uns)
    return len(pointer) - 1
