"""What the examples of all contracts share: the header, its faults, and small changes to an AnnData."""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

SEED = 20260101
HEADER_FAULTS: dict[str, tuple[dict, tuple[str, ...]]] = {
    "header_without_name": ({"name": None}, ("name",)),
    "header_without_version": ({"version": None}, ("version",)),
    "header_of_another_contract": ({"name": "recipes"}, ("name",)),
    "header_with_newer_major_version": ({"version": "2.0"}, ("version",)),
}


@dataclass(frozen=True)
class Example:
    """One file of the corpus.

    Attributes:
        contract: The contract it keeps or breaks.
        name: File name; of a broken example the rule it breaks.
        make: Writes it at a path.
        words: Of a broken example, words of which a refusal must mention at least one; empty for valid ones.
    """

    contract: str
    name: str
    make: Callable[[Path], None]
    words: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Place below the corpus folder."""
        return f"{self.contract}/{'broken' if self.words else 'valid'}/{self.name}"


def header(name: str, version: str = "1.0") -> dict:
    """A contract header as docs/contracts/README.md asks for it."""
    return {
        "name": name,
        "version": version,
        "writer": "make_corpus",
        "writer_version": "1",
        "created": "2026-01-01T00:00:00Z",
        # A split that names a parent has to name its screen, whose hash is not known here.
        "parents": {} if name == "splits" else {"source.h5ad": "0" * 64},
        "config": {"seed": SEED, "nothing": None},
    }


def changed_header(name: str, changes: dict) -> dict:
    return {key: value for key, value in {**header(name), **changes}.items() if value is not None}


def strings(values) -> np.ndarray:
    """A numpy array of strings; pandas makes its default string type of it."""
    return np.array(list(values), dtype=object)


def write(adata: anndata.AnnData, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # broken examples repeat names on purpose
        if path.suffix == ".h5ad":
            adata.write_h5ad(path)
        else:
            adata.write_zarr(path)


def anndata_examples(contract: str, base: Callable[[], anndata.AnnData], valid: dict, broken: dict) -> list[Example]:
    """Examples of an AnnData contract: `valid` maps name -> change, `broken` maps name -> (change, words).

    A change takes the AnnData and alters it, or returns another one. Broken ones are `.h5ad`, which is written in a
    twentieth of the time; the rules are the same in both forms.
    """

    def maker(change: Callable) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            adata = base()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                changed = change(adata)
            write(changed if isinstance(changed, anndata.AnnData) else adata, path)

        return make

    def unchanged(adata: anndata.AnnData) -> None:
        pass

    def newer_minor(adata: anndata.AnnData) -> None:
        adata.uns["contract"] = json.dumps({**header(contract, "1.9"), "unknown_key": [1, None]})
        adata.obs["unknown_column"] = np.arange(adata.n_obs)
        adata.var["unknown_column"] = 0.5
        adata.obsm["unknown_matrix"] = np.zeros((adata.n_obs, 2), np.float32)
        adata.layers["unknown_layer"] = adata.X.copy()
        adata.uns["unknown_table"] = pd.DataFrame({"a": [1.0]}, index=strings(["x"]))

    faults = {
        **{
            name: (lambda a, c=changes: a.uns.update(contract=json.dumps(changed_header(contract, c))), words)
            for name, (changes, words) in HEADER_FAULTS.items()
        },
        "no_header": (lambda a: a.uns.pop("contract"), ("contract",)),
        "header_that_is_not_json": (lambda a: a.uns.update(contract="{'name':"), ("contract",)),
        "header_that_is_a_list": (lambda a: a.uns.update(contract="[1]"), ("contract",)),
        **broken,
    }

    def object_strings(adata: anndata.AnnData) -> None:
        for frame in (adata.obs, adata.var):
            frame.index = pd.Index(frame.index, dtype=object)
            for column in frame.columns:
                if frame[column].dtype == "str":
                    frame[column] = frame[column].astype(object)

    plain = {
        "plain.zarr": unchanged,
        "plain.h5ad": unchanged,
        "object_strings.zarr": object_strings,
        "newer_minor_version.zarr": newer_minor,
        "newer_minor_version.h5ad": newer_minor,
    }
    return [
        *(Example(contract, name, maker(change)) for name, change in {**plain, **valid}.items()),
        *(Example(contract, f"{name}.h5ad", maker(change), words) for name, (change, words) in faults.items()),
    ]


def drop(frame: str, column: str) -> Callable:
    return lambda adata: getattr(adata, frame).drop(columns=column, inplace=True)


def set_value(frame: str, column: str, row: int, value: object) -> Callable:
    """Change one entry of a column; categorical columns become strings first."""

    def change(adata: anndata.AnnData) -> None:
        table = getattr(adata, frame)
        values = table[column].to_numpy().copy() if table[column].dtype != "category" else strings(table[column])
        values[row] = value
        table[column] = values

    return change


def repeat_name(frame: str) -> Callable:
    def change(adata: anndata.AnnData) -> None:
        names = list(getattr(adata, f"{frame}_names"))
        setattr(adata, f"{frame}_names", strings([names[0], names[0], *names[2:]]))

    return change


def set_entry(row: int, column: int, value: float) -> Callable:
    def change(adata: anndata.AnnData) -> None:
        adata.X[row, column] = value

    return change


def kinds(*names: str) -> Callable:
    return lambda adata: adata.obs.__setitem__("kind", strings(names))
