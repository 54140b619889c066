"""Encoder `table`: vectors as a user has them (csv, tsv, parquet, npz, h5ad), with where they came from."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from vc_contracts.text.plain import compound_name

from vc_featurize.bank import FeatureBank
from vc_featurize.errors import InputError
from vc_featurize.text import sha256_file

if TYPE_CHECKING:
    from pandas import DataFrame

logger = logging.getLogger(__name__)

MOST_OF_ALL = 0.95
"""Share of the variance that one column of three or more holds before it is worth a word."""


def table_features(
    path: str | Path,
    entities: Sequence[str] | None = None,
    *,
    kind: str = "gene",
    name: str = "",
    source: str = "",
    licence: str = "unstated",
    scale: bool = False,
) -> FeatureBank:
    """A bank from a table of one row per entity; rows with values that are not finite are marked missing.

    Args:
        path: `.csv`, `.tsv` (also gzip), `.parquet`: first column or index holds the names. `.npz`: arrays `names` and
            `vectors`. `.h5ad`: obs names and X.
        entities: Names to keep, in this order; all by default.
        kind: What the names are.
        name: Encoder id; the file's name by default.
        source: Where the vectors came from, recorded in the bank.
        licence: Licence of the vectors.
        scale: Centre every column and divide it by its standard deviation over the file's rows.

    Raises:
        InputError: If the file cannot be read so, or a name occurs twice.
    """
    path = Path(path)
    frame = _read(path)
    named = frame.index.notna() & (frame.index.astype(str).str.strip() != "")
    if not named.all():
        logger.warning("%s: %d row(s) without a name are left out", path, int((~named).sum()))
        frame = frame[named]
    if not frame.index.is_unique:
        repeated = sorted(set(frame.index[frame.index.duplicated()].astype(str)))
        raise InputError(f"{path}: expected each name once, found {len(repeated)} repeated: {repeated[:5]}.")
    try:
        values = frame.to_numpy(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: expected numbers after the first column, found other values ({error}).") from error
    if not values.size:
        raise InputError(
            f"{path}: expected rows of a name and numbers, found {values.shape[0]} rows x {values.shape[1]} columns of numbers. "
            "Separate columns by ',' in .csv and by tabs in .tsv."
        )
    finite = np.isfinite(values).all(axis=1)
    if not scale:
        _warn_of_one_column(path, frame, values[finite])
    if scale:
        values = (values - values[finite].mean(axis=0)) / np.maximum(values[finite].std(axis=0), 1e-12)
    read = compound_name if kind == "compound" else str  # as the screen holds the names of its compounds
    row_of = {read(key): row for row, key in enumerate(frame.index)}
    if len(row_of) < len(frame):
        raise InputError(
            f"{path}: expected each compound once, found {len(frame) - len(row_of)} that differ in blanks."
        )
    names = list(row_of) if entities is None else [read(name) for name in entities]
    if len(set(names)) < len(names):
        raise InputError("entities: expected each name once, found repeats. Drop them.")
    notes = ["not in the table" if key not in row_of else "" if finite[row_of[key]] else "not finite" for key in names]
    missing = np.array([bool(note) for note in notes])
    out = np.zeros((len(names), values.shape[1]), np.float32)
    out[~missing] = values[[row_of[key] for key, gone in zip(names, missing, strict=True) if not gone]]
    encoder_id = name or path.name.split(".")[0]
    return FeatureBank(
        vectors_ef=out,
        entities=tuple(names),
        kinds=(kind,) * len(names),
        sources=tuple("" if gone else f"{path.name}:{key}" for key, gone in zip(names, missing, strict=True)),
        missing=missing,
        dims=tuple(f"{encoder_id}:{column}" for column in frame.columns.astype(str)),
        encoder={
            "id": encoder_id,
            "revision": sha256_file(path),
            "pooling": "as given" + (", columns standardised" if scale else ""),
            "dtype": "float32",
            "dim": values.shape[1],
            "licence": licence,
            "provenance": source,
        },
        notes=tuple(notes),
    )


def _warn_of_one_column(path: Path, frame: "DataFrame", values_nf: np.ndarray) -> None:
    """A number that is no feature (an Entrez id, a count of cells) outweighs all that are."""
    spread_f = values_nf.var(axis=0) if len(values_nf) else np.zeros(0)
    if len(spread_f) > 2 and spread_f.max() > MOST_OF_ALL * spread_f.sum():
        logger.warning(
            "%s: column %r holds %.1f %% of the variance of all %d; leave it out if it is no feature, or pass --scale",
            path, str(frame.columns[int(spread_f.argmax())]), 100 * spread_f.max() / spread_f.sum(), len(spread_f),
        )  # fmt: skip


def _read(path: Path) -> "DataFrame":
    """The table with the names as its index."""
    import pandas as pd
    from vc_contracts.store import read_parquet

    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a table of vectors. Check the path.")
    name = path.name.removesuffix(".gz")
    try:
        if name.endswith((".csv", ".tsv", ".txt")):
            return pd.read_csv(path, sep="," if name.endswith(".csv") else "\t", index_col=0)
        if name.endswith(".parquet"):
            frame = read_parquet(path)
            return frame.set_index(frame.columns[0]) if isinstance(frame.index, pd.RangeIndex) else frame
        if name.endswith(".npz"):
            with np.load(path, allow_pickle=False) as arrays:
                if not {"names", "vectors"} <= set(arrays.files):
                    raise InputError(
                        f"{path}: expected the arrays `names` and `vectors`, found {sorted(arrays.files)}."
                    )
                return pd.DataFrame(arrays["vectors"], index=arrays["names"].astype(str))
        if name.endswith(".h5ad"):
            from vc_contracts.store import read_anndata

            return read_anndata(path).to_df()
    except (ValueError, KeyError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a table of vectors ({error}).") from error
    raise InputError(f"{path}: expected a name that ends in .csv, .tsv, .parquet, .npz or .h5ad.")
