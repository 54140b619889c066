"""What the commands share: checks before work, writing, the last line."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vc_featurize.errors import InputError

if TYPE_CHECKING:
    from vc_featurize.bank import FeatureBank


def check_out(out: Path, overwrite: bool, inputs: list[Path]) -> None:
    """Refuse a target before any work is done.

    Raises:
        InputError: If its name says no format that banks have.
    """
    from vc_contracts.whole import check_target

    if out.suffix not in (".zarr", ".h5ad"):
        raise InputError(f"--out {out}: expected a name that ends in .zarr or .h5ad.")
    check_target(out, kind="features", overwrite=overwrite, inputs=inputs, make_parent=True)


def write_bank(out: Path, bank: "FeatureBank", inputs: list[Path], config: Mapping[str, Any]) -> None:
    """Write a bank and say what was written, what is missing and what to do next."""
    from vc_featurize.bank import write_features
    from vc_featurize.text import sha256_file

    parents = {path.name: sha256_file(path) for path in inputs if path.is_file()}
    write_features(out, bank, parents=parents, config=dict(config))
    notes = bank.notes or ("",) * len(bank.entities)
    gone = [(e, n) for e, n, lost in zip(bank.entities, notes, bank.missing, strict=True) if lost]
    for entity, note in gone[:5]:
        print(f"missing: {entity}: {note}")
    print(f"wrote {out}: {summary(bank)}. Next: vc-featurize inspect {out}, or give it to a model as features.")


def summary(bank: "FeatureBank") -> str:
    """Entities, missing ones, width, encoder."""
    n_missing = int(bank.missing.sum())
    return f"{len(bank.entities)} entities ({n_missing} missing) x {len(bank.dims)} dimensions, {bank.encoder['id']}"
