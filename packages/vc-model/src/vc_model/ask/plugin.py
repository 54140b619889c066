"""A user's own model: a class with `fit` and `predict` in a file, beside the built-in ones.

    class MyModel:
        def fit(self, train): ...                 # an EffectTable; keep what is learnt in attributes
        def predict(self, conditions): ...        # [q, g] effects in log1p CP10k, or a Prediction

What it learnt is saved as its attributes: arrays, numbers, text, and tuples, lists or dicts of these. Its code is not
saved: a checkpoint names the file and its hash, and is opened together with the file.
"""

import contextlib
import hashlib
import importlib.util
import inspect
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from vc_contracts.progress import progress

from vc_model.doubt.spread import Spread, fit_spread
from vc_model.errors import CheckpointError, VcModelError
from vc_model.predictor import Prediction, make_prediction
from vc_model.stored import stored
from vc_model.table.effects import Conditions, Contexts, EffectTable
from vc_model.table.folds import OutOfFold, all_folds, keep, known_before

_current: ContextVar[Path | None] = ContextVar("plugin", default=None)


class PluginError(VcModelError):
    """A plugin that cannot be used; the text says what to change."""


@dataclass(frozen=True)
class Plugin:
    """A user's model before fitting.

    Attributes:
        path: The file.
        kind: The class.
        name: Its `name`, or the class's own.
    """

    path: Path
    kind: type[Any]
    name: str

    def fit(self, train: EffectTable) -> "FittedPlugin":
        """Fit it on the table, and on every fold for the errors to expect.

        Raises:
            PluginError: If it does not do what its two methods promise.
        """
        own = self._fitted(train)
        folds, half = all_folds(train, 5, 0), train.half
        rows, bins, deltas = [], [], []
        done: set[tuple[int, int]] = set()
        for fold in progress(folds, desc=self.name):
            bin_t = known_before(train, fold.train).bins(train.conditions.subset(fold.test))
            fresh = np.array([pair not in done for pair in zip(fold.test.tolist(), bin_t.tolist(), strict=True)])
            if not fresh.any():
                continue
            test, bin_t = fold.test[fresh], bin_t[fresh]
            done.update(zip(test.tolist(), bin_t.tolist(), strict=True))
            part = self._fitted(half.subset(fold.train))
            deltas.append(effect_of(part, train.conditions.subset(test), train.genes, self.name))
            rows.append(test)
            bins.append(bin_t)
        none = np.zeros(0, dtype=np.int64)
        delta_mg = np.concatenate([np.zeros((0, len(train.genes)), np.float32), *deltas])
        oof = OutOfFold(np.concatenate([none, *rows]), np.concatenate([none, *bins]), {self.name: delta_mg})
        keep(train, self.name, oof, delta_mg)
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        state = {name: value for name, value in vars(own).items() if not name.startswith("_")}
        fitted = FittedPlugin(
            self.name,
            self.path.name,
            self.kind.__name__,
            digest,
            train.contexts,
            state,
            fit_spread(train, oof, delta_mg),
        )
        fitted.__dict__["instance"] = own
        return fitted

    def _fitted(self, table: EffectTable) -> Any:
        made = self.kind()
        return made.fit(table) or made


@stored
@dataclass(frozen=True, eq=False)
class FittedPlugin:
    """A user's fitted model with predictive variances of its out-of-fold errors.

    Attributes:
        name: Its name.
        fname: The file it came from.
        kind: The class in it.
        sha256: Of the file.
        contexts: Contexts it was fitted with.
        state: What it learnt, by attribute.
        spread: Its predictive variance.
    """

    name: str
    fname: str
    kind: str
    sha256: str
    contexts: Contexts
    state: dict[str, Any]
    spread: Spread

    @cached_property
    def instance(self) -> Any:
        """The user's object, made again from its file.

        Raises:
            CheckpointError: If the file was not given, or lacks the class.
        """
        path = _current.get()
        if path is None:
            raise CheckpointError(
                f"{self.name}: plugin: expected the file {self.fname} with the class {self.kind} (sha256 "
                f"{self.sha256[:12]}), found none. Give --plugin {self.fname}."
            )
        plugin = read_plugin(path)
        if plugin.kind.__name__ != self.kind:
            raise CheckpointError(
                f"{path}: class: expected {self.kind}, which the model was fitted with, found {plugin.kind.__name__}."
            )
        make: Any = plugin.kind.__new__
        made = make(plugin.kind)
        made.__dict__.update(self.state)
        return made

    def predict(self, conditions: Conditions) -> Prediction:
        """Predict effects, profiles and variances."""
        contexts = conditions.contexts_or(self.contexts)
        said = self.instance.predict(conditions)
        if isinstance(said, Prediction):
            return said
        delta_qg = check_effect(said, len(conditions), len(contexts.genes), self.name)
        delta_qg[conditions.sizes == 0] = 0
        bin_q = self.spread.known.bins(conditions)
        var_qg = self.spread.variance(bin_q, delta_qg)
        return make_prediction(conditions, contexts.base_cg, contexts, delta_qg, var_qg, self.spread.conformal, bin_q)


def read_plugin(path: Path | str) -> Plugin:
    """Load a plugin file, which runs its code.

    Args:
        path: A Python file with exactly one class that has `fit` and `predict`.

    Raises:
        PluginError: If there is no such file or class, or its code fails.
    """
    path = Path(path)
    if not path.is_file():
        raise PluginError(f"{path}: plugin: expected a Python file, found none. Check the path.")
    spec = importlib.util.spec_from_file_location(f"vc_plugin_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path}: plugin: expected a file that ends in .py, found {path.name}.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises
        raise PluginError(f"{path}: expected code that runs, found {type(error).__name__}: {error}.") from error
    kinds = [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and callable(getattr(kind, "fit", None)) and hasattr(kind, "predict")
    ]
    if len(kinds) != 1:
        found = [kind.__name__ for kind in kinds] or "none"
        raise PluginError(f"{path}: expected one class with fit and predict, found {found}.")
    return Plugin(path, kinds[0], str(getattr(kinds[0], "name", kinds[0].__name__)))


@contextlib.contextmanager
def using(path: Path | str | None) -> Iterator[None]:
    """Within the block, checkpoints of a plugin are opened with this file; the object stays usable after it."""
    token = _current.set(None if path is None else Path(path))
    try:
        yield
    finally:
        _current.reset(token)


def effect_of(model: Any, conditions: Conditions, genes: tuple[str, ...], name: str) -> np.ndarray:
    """[q, g] float32 effects that a user's fitted object predicts."""
    said = model.predict(conditions)
    said = said.delta_pg if isinstance(said, Prediction) else said
    return check_effect(said, len(conditions), len(genes), name)


def check_effect(said: Any, n: int, n_genes: int, name: str) -> np.ndarray:
    """A user's predictions as a float32 array of its own.

    Raises:
        PluginError: If they are not finite numbers of shape [n, n_genes].
    """
    try:
        array = np.array(said, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise PluginError(f"{name}.predict: expected an array of effects, found {type(said).__name__}.") from error
    if array.shape != (n, n_genes):
        raise PluginError(f"{name}.predict: expected shape {(n, n_genes)}, conditions x genes, found {array.shape}.")
    if not np.isfinite(array).all():
        raise PluginError(f"{name}.predict: expected finite effects, found NaN or infinity.")
    return array
