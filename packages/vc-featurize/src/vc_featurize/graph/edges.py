"""Edge lists that users bring: two columns of names, weights where there are some."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from vc_featurize.errors import InputError
from vc_featurize.text import read_lines


@dataclass(frozen=True)
class Edges:
    """A weighted network: `sources[i]` to `targets[i]` with `weights[i]`."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    weights: np.ndarray

    def nodes(self) -> list[str]:
        """All names, sorted."""
        return sorted({*self.sources, *self.targets})

    def adjacency(self) -> tuple[list[str], sparse.csr_array]:
        """Names and the symmetric matrix of absolute weights; the largest of repeated edges, no loops."""
        nodes = self.nodes()
        row_of = {node: row for row, node in enumerate(nodes)}
        best: dict[tuple[int, int], float] = {}
        for a, b, weight in zip(self.sources, self.targets, self.weights, strict=True):
            i, j = sorted((row_of[a], row_of[b]))
            if i != j:
                best[i, j] = max(best.get((i, j), 0.0), abs(float(weight)))
        if not best:
            raise InputError("edges: expected at least one edge between two names, found none.")
        rows, columns = np.array(sorted(best)).T
        values = np.array([best[i, j] for i, j in zip(rows, columns, strict=True)])
        half = sparse.csr_array((values, (rows, columns)), shape=(len(nodes), len(nodes)))
        return nodes, sparse.csr_array(half + half.T)


def read_edges(path: str | Path, source: str, target: str, weight: str | None = None) -> Edges:
    """An edge list with a header line: comma-separated when named `.csv`, else tab-separated; gzip is fine.

    Raises:
        InputError: If a column is absent or a weight is no finite number.
    """
    path = Path(path)
    separator = "," if path.name.removesuffix(".gz").endswith(".csv") else "\t"
    rows = csv.DictReader(read_lines(path, "an edge list"), delimiter=separator)
    wanted = [source, target, *([weight] if weight else [])]
    absent = [name for name in wanted if name not in (rows.fieldnames or [])]
    if absent:
        raise InputError(f"{path}: expected columns {wanted}, found {list(rows.fieldnames or [])[:12]}.")
    names, weights = [], []
    for number, row in enumerate(rows, start=2):
        if not (row[source] and row[target]):
            continue
        try:
            value = float(row[weight]) if weight else 1.0
        except (TypeError, ValueError):
            value = np.nan
        if not np.isfinite(value):
            raise InputError(f"{path}: row {number}: expected a finite number in {weight!r}, found {row[weight]!r}.")
        names.append((row[source], row[target]))
        weights.append(value)
    if not names:
        raise InputError(f"{path}: expected at least one edge, found none.")
    return Edges(tuple(a for a, _ in names), tuple(b for _, b in names), np.array(weights))
