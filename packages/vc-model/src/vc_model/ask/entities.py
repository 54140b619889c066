"""A fitted model learns of further entities of its banks: compounds that were made up after it was fitted.

A bank's map keeps how vectors of its encoder are projected, so a new vector from the same encoder with the same settings
goes the same way as those it was fitted with. Nothing is fitted anew.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from vc_model.ask.model import AskModel
from vc_model.ask.questions import QuestionError
from vc_model.table.features import BankMap


def bank_recipes(model: AskModel) -> list[dict[str, Any]]:
    """How the vectors of each bank of compounds were made: `encoder` and `config` of its header, as they stand there."""
    return [json.loads(bank.recipe) for bank in model.memory.relatives.features.banks if bank.recipe]


def with_entities(model: AskModel, recipe: dict[str, Any], names: Sequence[str], vectors_nf: np.ndarray) -> AskModel:
    """The model with further entities in the bank of one recipe; those that the bank knows keep their vectors.

    Args:
        model: The model.
        recipe: One of `bank_recipes`.
        names: n names of entities.
        vectors_nf: [n, f] float32 vectors of that encoder.

    Raises:
        QuestionError: If the vectors are not as wide as the bank's.
    """
    wanted = json.dumps(recipe, sort_keys=True)
    own = next(bank for bank in model.memory.relatives.features.banks if bank.recipe == wanted)
    if own.centre_f is None or vectors_nf.shape != (len(names), len(own.centre_f)):
        wide = None if own.centre_f is None else len(own.centre_f)
        raise QuestionError(
            f"compounds: expected vectors of {wide} numbers, as the model's bank has, found {vectors_nf.shape[1]}. "
            "Use the encoder that the bank was made with."
        )
    new = [at for at, name in enumerate(names) if name not in own.row_of]
    added = tuple(names[at] for at in new)

    def change(value: Any) -> Any:
        if isinstance(value, BankMap) and value.recipe == wanted and value.directions_fb is not None:
            projected = ((vectors_nf[new] - value.centre_f) @ value.directions_fb).astype(np.float32)
            vectors = np.concatenate([value.vector_eb, projected])
            return dataclasses.replace(value, entities=(*value.entities, *added), vector_eb=vectors)
        return value

    done: dict[int, Any] = {}
    return AskModel(_rebuilt(model.fitted, change, done), _rebuilt(model.memory, change, done))


def _rebuilt(value: Any, change: Any, done: dict[int, Any]) -> Any:
    """A tree of frozen dataclasses with some of them exchanged; what holds none of those stays the same object."""
    if id(value) in done:
        return done[id(value)]
    made = value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        parts = {name: _rebuilt(part, change, done) for name, part in fields.items()}
        if any(parts[name] is not fields[name] for name in fields):
            made = dataclasses.replace(value, **parts)
        made = change(made)
    elif isinstance(value, tuple | list):
        parts = [_rebuilt(part, change, done) for part in value]
        if any(new is not old for new, old in zip(parts, value, strict=True)):
            made = type(value)(parts)
    elif isinstance(value, dict):
        parts = {key: _rebuilt(part, change, done) for key, part in value.items()}
        if any(parts[key] is not value[key] for key in value):
            made = parts
    done[id(value)] = made
    return made
