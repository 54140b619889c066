"""Predictions that spell perturbations or genes otherwise than the screen: read by the screen's own link of names."""

from pathlib import Path
from typing import TYPE_CHECKING

from vc_contracts.errors import raised_as
from vc_contracts.kinds import header_of
from vc_contracts.parents import check_parent
from vc_contracts.targets import TargetTable

from vc_eval.contracts import CONTROL
from vc_eval.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import anndata


def check_sources(screen: object, splits: object, predictions: "Mapping[str, object]") -> None:
    """Refuse a split of another screen, and predictions that were made with other files of the same names.

    Args:
        screen: Path, or anything else, which is not looked at.
        splits: Likewise.
        predictions: Model -> path, or anything else.

    Raises:
        ContractError: A header lists other hashes than those of the files at hand.
    """
    with raised_as(ContractError):
        if isinstance(splits, str | Path) and isinstance(screen, str | Path):
            check_parent(header_of(Path(splits)), splits, screen, only=True, do="Pass the screen of this split.")
        for path in predictions.values():
            if isinstance(path, str | Path):
                header = header_of(Path(path))
                for parent in (screen, splits):
                    if isinstance(parent, str | Path):
                        check_parent(header, path, parent, do="Predict again with this file.")


def named_as(targets: TargetTable, labels: set[str], file: "anndata.AnnData") -> tuple["anndata.AnnData", int]:
    """A prediction with the screen's names, and how many names were read so.

    Args:
        targets: Of the screen.
        labels: Perturbations of the screen.
        file: A checked prediction.
    """
    own = set(file.obs["perturbation"].astype(str))
    called = {
        label: other for label in sorted(own - labels - {CONTROL}) if (other := _label(label, targets)) in labels - own
    }
    genes = file.var_names.astype(str)
    known = set(genes)
    moved = {
        name: other
        for name in genes
        if name not in targets.genes and (other := targets.call(name)) in targets.genes and other not in known
    }
    if len(set(called.values())) < len(called) or len(set(moved.values())) < len(moved):
        return file, 0  # two spellings of one name: their condition is missing, which is said with its name
    if called or moved:
        file = file.copy()
        file.obs["perturbation"] = [called.get(label, label) for label in file.obs["perturbation"].astype(str)]
        file.var_names = [str(moved.get(name, name)) for name in genes]
    return file, len(called) + len(moved)


def _label(label: str, targets: TargetTable) -> str:
    """A label with each of its targets as the screen calls it; a dose behind '@' stays."""
    whole = targets.call(label)
    if whole is not None:
        return whole
    bare, at, dose = label.partition("@")
    return "+".join(sorted(targets.call(part.strip()) or part for part in bare.split("+"))) + at + dose
