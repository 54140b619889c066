"""Broken files made from the schemas: one for every way in which a field can break."""

from collections.abc import Callable, Iterator

import anndata
import numpy as np
from vc_contracts import SCHEMAS
from vc_contracts.schema import Field

from corpus.base import Example, strings, write

Change = Callable[[anndata.AnnData], object]


def generated_examples(contract: str, base: Callable[[], anndata.AnnData]) -> list[Example]:
    """A broken `.h5ad` per breach of a field of an AnnData contract."""
    examples = []
    for field in SCHEMAS[contract].fields:
        if field.container in ("obs", "uns", "var") and field.key and field.key != "groups":
            for name, change in breaches(field):
                if field.required or name != "absent":
                    file = f"made_{field.container}_{field.key}_{name}.h5ad"
                    examples.append(Example(contract, file, _maker(base, change), (field.key,)))
    return examples


def breaches(field: Field) -> Iterator[tuple[str, Change]]:
    """Every way in which a field of obs, var or uns can break: name, change."""
    place, key = field.container, field.key
    if place == "uns":
        yield "absent", lambda a: a.uns.pop(key, None)
        wrong = {"text": [3, ""], "json": ["{", "[1]", 3.5], "levels": [[0.5, 0.2], [0.0, 0.5]], "strings": [[1, 2]]}
        for number, value in enumerate(wrong.get(field.kind, [])):
            yield f"wrong_{number}", lambda a, value=value: a.uns.__setitem__(key, value)
        if field.allowed:
            yield "unknown", lambda a: a.uns.__setitem__(key, "no such word")
        return
    yield "absent", lambda a: getattr(a, place).drop(columns=key, inplace=True, errors="ignore")
    for name, value in _columns(field):
        yield name, lambda a, value=value: getattr(a, place).__setitem__(key, value(len(getattr(a, place))))


def _columns(field: Field) -> Iterator[tuple[str, Callable[[int], object]]]:
    """Whole columns that a field refuses: name, maker from a length."""
    if field.kind == "label":
        yield "missing", lambda n: strings(["x"] * (n - 1) + [None])
        yield "numbers", lambda n: np.arange(n)
        if field.allowed:
            yield "unknown", lambda n: strings(["no such word"] * n)
    elif field.kind == "bool":
        yield "numbers", lambda n: np.zeros(n, np.int8)
        yield "text", lambda n: strings(["True"] * n)
    elif field.kind in ("integer", "number"):
        yield "text", lambda n: strings(["1"] * n)
        yield "bools", lambda n: np.ones(n, bool)
        if field.kind == "integer":
            yield "fractions", lambda n: np.full(n, 0.5)
        if field.low is not None:
            yield "too_low", lambda n: np.full(n, field.low - 1 if field.kind == "integer" else -0.5)
        if field.high is not None:
            yield "too_high", lambda n: np.full(n, int(field.high) + 1)
        if field.finite:
            yield "infinite", lambda n: np.full(n, np.inf)
        if field.whole:
            yield "halves", lambda n: np.full(n, 1.5)


def _maker(base: Callable[[], anndata.AnnData], change: Change) -> Callable:
    def make(path) -> None:
        adata = base()
        change(adata)
        write(adata, path)

    return make
