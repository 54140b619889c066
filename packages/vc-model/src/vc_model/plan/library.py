"""What can be tested, and what is known about it beforehand: names and blocks of features."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from vc_contracts.errors import Refusal
from vc_contracts.targets import match_names
from vc_contracts.text import gmt

from vc_model.plan.errors import PlanError

N_COMPONENTS = 64
"""Components kept of a wide block of features."""
LEAST_KNOWN = 0.05
"""Share of the library that features have to know."""


@dataclass(frozen=True, eq=False)
class Library:
    """Entities that can be tested, with blocks of features.

    Attributes:
        names: The e entities.
        blocks: Block name -> [e, f] float64, scaled to a mean squared length of 1 over the entities that it knows; zeros
            where it knows nothing.
    """

    names: tuple[str, ...]
    blocks: Mapping[str, np.ndarray]

    @cached_property
    def position(self) -> dict[str, int]:
        """Name -> row."""
        return {name: row for row, name in enumerate(self.names)}

    @cached_property
    def known_e(self) -> np.ndarray:
        """[e] bool, entities that some block knows."""
        known_e = np.zeros(len(self.names), dtype=bool)
        for block in self.blocks.values():
            known_e |= block.any(axis=1)
        return known_e

    @cached_property
    def features_ed(self) -> np.ndarray:
        """[e, d] float32, all blocks side by side."""
        return np.concatenate([np.zeros((len(self.names), 0)), *self.blocks.values()], axis=1).astype(np.float32)

    @cached_property
    def prior_b(self) -> np.ndarray:
        """[b] share that each block is expected to have of what all explain, before anything is measured; sums to 1.

        A quarter is shared equally. The rest goes by the squared entries of the first eigenvector of the blocks' RV
        coefficients, as STATIS weighs tables (Abdi et al., WIREs Comput. Stat. 4 (2012) 124-167): where independent sources
        agree on who is alike, the likeness is probably real.
        """
        if len(self.blocks) < 2:
            return np.ones(len(self.blocks))
        centred = [block - block.mean(axis=0) for block in self.blocks.values()]
        agree_bb = np.array([[np.square(one.T @ other).sum() for other in centred] for one in centred])
        size_b = np.maximum(np.sqrt(np.diag(agree_bb)), 1e-12)
        first_b = np.linalg.eigh(agree_bb / np.outer(size_b, size_b))[1][:, -1]
        return 0.75 * first_b**2 + 0.25 / len(self.blocks)

    def parts(self, rows: np.ndarray) -> list[np.ndarray]:
        """The blocks at the given rows."""
        return [block[rows] for block in self.blocks.values()]

    def rows(self, names: Iterable[str], what: str) -> np.ndarray:
        """[n] rows of names.

        Raises:
            PlanError: If some are not here; names the nearest ones.
        """
        names = list(names)
        at = match_names(names, self.names)
        check_known([name for name, row in zip(names, at, strict=True) if row < 0], self.position, what, "the library")
        return np.array(at, dtype=np.int64)


def make_library(names: Sequence[str], sources: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> Library:
    """A library of names with features from several sources.

    Args:
        names: The entities, each once.
        sources: Block name -> (entities, [n, f] values). A value that is not finite, and an entity that is absent, is
            not known.

    Raises:
        PlanError: For names that repeat, or a source that knows almost none of them (another species, other ids).
    """
    check_unique(names, "library")
    return Library(tuple(names), {key: _block(key, names, *source) for key, source in sources.items()})


def _block(key: str, names: Sequence[str], entities: Sequence[str], values_nf: np.ndarray) -> np.ndarray:
    row_of = {str(name): row for row, name in enumerate(entities)}
    known, rows = list(row_of), np.array([*row_of.values(), -1])
    at_e = rows[match_names(names, known)]
    known_e = at_e >= 0
    if known_e.mean() < LEAST_KNOWN:
        shouted = {name.upper() for name in row_of}
        species = sum(name.upper() in shouted for name in names) > 2 * max(1, known_e.sum())
        raise PlanError(
            f"features {key!r}: know {known_e.sum()} of {len(names)} names of the library (e.g. {list(row_of)[:3]} against "
            f"{list(names)[:3]}); expected at least {LEAST_KNOWN:.0%}. "
            + ("They look like those of another species. " if species else "")
            + "Give features that name entities as the library does."
        )
    block_ef = np.zeros((len(names), values_nf.shape[1]))
    block_ef[known_e] = np.nan_to_num(np.asarray(values_nf, dtype=np.float64)[at_e[known_e]], posinf=0, neginf=0)
    block_ef[known_e] -= block_ef[known_e].mean(axis=0)
    if block_ef.shape[1] > N_COMPONENTS:
        _, _, axes_kf = _truncated(block_ef[known_e], N_COMPONENTS)
        block_ef = block_ef @ axes_kf.T
    power = np.square(block_ef[known_e]).sum(axis=1).mean()
    return block_ef / np.sqrt(power) if power > 0 else block_ef


def _truncated(values_nf: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    k = min(k, min(values_nf.shape) - 1)
    u, s, v = sp.linalg.svds(sp.csr_array(values_nf), k=k, v0=np.ones(min(values_nf.shape)))
    order = np.argsort(-s)
    return u[:, order], s[order], v[order]


def set_features(sets: Iterable[Iterable[str]], k: int = N_COMPONENTS) -> tuple[tuple[str, ...], np.ndarray]:
    """Components of memberships in sets, rare sets counting more (inverse document frequency).

    Args:
        sets: Members of each set; sets of fewer than 3 or more than 2,000 members say little and are left out.
        k: Components.

    Returns:
        Entities in any set, and their [n, k + 1] vectors; the last column is the logarithm of the number of sets.
    """
    ordered = [sorted(set(members)) for members in sets]
    kept = [members for members in ordered if 3 <= len(members) <= 2000]
    names = sorted({name for members in kept for name in members})
    row_of = {name: row for row, name in enumerate(names)}
    if len(names) < 3 or len(kept) < 3:
        raise PlanError(f"gene sets: expected 3 or more sets of 3 to 2,000 members, found {len(kept)}.")
    column = np.repeat(np.arange(len(kept)), [len(members) for members in kept])
    row = np.array([row_of[name] for members in kept for name in members])
    weight = np.log(len(names) / np.array([len(members) for members in kept]))[column]
    matrix = sp.csr_array((weight, (row, column)), shape=(len(names), len(kept)))
    least = min(len(names), len(kept))
    u, s, _ = sp.linalg.svds(matrix, k=min(k, least - 1), v0=np.ones(least))
    count = np.log1p(np.bincount(row, minlength=len(names)))[:, None]
    vectors = u * s
    scale = np.sqrt(np.square(vectors).sum(axis=1).mean())
    return tuple(names), np.concatenate(
        [vectors / scale, 0.3 * (count - count.mean()) / max(count.std(), 1e-12)], axis=1
    )


def read_gmt(fpath: Path) -> list[list[str]]:
    """Members of each set of a .gmt file; see `vc_contracts.text.gmt.read_gmt`.

    Raises:
        PlanError: If the file is no GMT, a set has no name or no genes, or a name occurs twice.
    """
    return list(read_named_gmt(fpath).values())


def read_named_gmt(fpath: Path) -> dict[str, list[str]]:
    """Name -> members of each set of a .gmt file.

    Raises:
        PlanError: As `read_gmt`.
    """
    try:
        return {name: list(genes) for name, genes in gmt.read_gmt(fpath).items()}
    except Refusal as error:
        raise PlanError(str(error)) from error


def read_source(fpath: Path) -> tuple[Sequence[str], np.ndarray]:
    """Entities and vectors of one file: .gmt, a features-v1 bank, or a table whose first column names the entities.

    Raises:
        PlanError: If the file is none of these.
        ContractError: If a bank is damaged.
    """
    name = fpath.name.removesuffix(".gz")
    if not fpath.exists():
        raise PlanError(f"{fpath}: no such file. Give a .gmt, a features-v1 bank (.zarr, .h5ad) or a table.")
    if name.endswith(".gmt"):
        return set_features(read_gmt(fpath))
    if fpath.is_dir() or name.endswith(".h5ad"):
        from vc_model.contracts.features import read_features

        bank = read_features(fpath)
        there = ~bank.missing_e
        return [entity for entity, known in zip(bank.entities, there, strict=True) if known], bank.vectors_ef[there]
    table = read_frame(fpath)
    numbers = table.iloc[:, 1:].select_dtypes("number")
    if numbers.empty:
        raise PlanError(f"{fpath}: expected a column of names and columns of numbers, found {list(table.columns)[:8]}.")
    check_unique(table.iloc[:, 0].astype(str), str(fpath))
    spread = numbers.std().replace(0, 1)
    return table.iloc[:, 0].astype(str).tolist(), ((numbers - numbers.mean()) / spread).to_numpy(np.float64)


def read_frame(fpath: Path) -> pd.DataFrame:
    """A table: .parquet, .csv or .tsv, gzipped or not.

    Raises:
        PlanError: If the file is absent or not such a table.
    """
    from vc_contracts.store import read_parquet

    name = str(fpath).removesuffix(".gz")
    if not fpath.is_file():
        raise PlanError(f"{fpath}: no such file. Give a .parquet, .csv or .tsv table.")
    try:
        if name.endswith(".parquet"):
            return read_parquet(fpath)
        return pd.read_csv(fpath, sep="," if name.endswith(".csv") else "\t")
    except (ValueError, OSError) as error:
        raise PlanError(f"{fpath}: not a .parquet, .csv or .tsv table that can be read ({error}).") from error


def check_unique(names: Iterable[str], what: str) -> None:
    """Refuse names that repeat.

    Raises:
        PlanError: Names the first few.
    """
    counts = pd.Series(list(names), dtype=object).value_counts()
    twice = [str(name) for name in counts.index[counts > 1]]
    if twice:
        raise PlanError(
            f"{what}: expected each name once, found {len(twice)} more than once ({', '.join(sorted(twice)[:5])}). "
            "Average or drop the repeats."
        )


def check_known(names: Iterable[str], known: Iterable[str], what: str, where: str) -> None:
    """Refuse names that are not known, with the nearest that are.

    Raises:
        PlanError: Names the first few, and for each its nearest.
    """
    known = known if isinstance(known, dict | set) else set(known)
    absent = [str(name) for name in names if name not in known]
    if absent:
        pool = sorted(map(str, known))
        near = [f"{name} (nearest: {', '.join(nearest(name, pool)) or 'none'})" for name in absent[:3]]
        raise PlanError(f"{what}: {len(absent)} not in {where}: {'; '.join(near)}. Correct or leave them out.")


def nearest(name: str, pool: Sequence[str]) -> list[str]:
    """The up to three most similar names of a pool, whatever their case."""
    lowered = {entry.lower(): entry for entry in pool}
    return [lowered[entry] for entry in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)]
