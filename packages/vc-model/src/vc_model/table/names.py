"""Names that come from elsewhere, read as the screen of the model spells them (`vc_contracts.targets`)."""

from collections.abc import Sequence
from dataclasses import replace

from vc_contracts.targets import TargetTable

from vc_model.contracts import FeatureBank
from vc_model.table.effects import Action, Contexts


def bank_as_screen(contexts: Contexts, bank: FeatureBank) -> FeatureBank:
    """A bank whose entities are named as the screen names its targets; an entity that is there twice keeps its name."""
    if bank.kind == "guide":
        return bank
    own, called = set(bank.entities), []
    for name in bank.entities:
        known = contexts.call(name)
        called.append(name if known != name and known in own else known)
        own.add(called[-1])
    return replace(bank, entities=tuple(called))


def genes_in(targets: TargetTable, genes: Sequence[str]) -> list[str]:
    """What another screen calls the genes of a model."""
    return [gene if gene in targets.genes else targets.call(gene) or gene for gene in genes]


def actions_as_model(like: Contexts, targets: TargetTable, actions: Sequence[Action]) -> tuple[Action, ...]:
    """Actions of another screen with the targets that the model knows by other names."""
    return tuple(
        replace(action, targets=tuple({like.call_target(name, targets): None for name in action.targets}))
        for action in actions
    )
