"""One way in for screens and for tables of effects."""

from collections.abc import Sequence
from pathlib import Path

from vc_model.contracts.effects import is_effects
from vc_model.table.effects import Conditions, EffectTable
from vc_model.table.measured import load_effects
from vc_model.table.pseudobulk import load_tables


def load_any(
    source: Path | str, splits: Path | str, features: Sequence[Path | str] = ()
) -> tuple[EffectTable, Conditions, Conditions]:
    """Training table, validation and test conditions of a screen-v1 or effects-v1 file.

    Args:
        source: The file; its header says what it is.
        splits: splits-v1 of it.
        features: features-v1 banks.

    Raises:
        ContractError: If a file breaks its contract.
        TableError: If there is nothing to train on.
    """
    if is_effects(source):
        return load_effects(source, splits, features)
    return load_tables(source, splits, list(features))
