"""What perturbing a gene does to others, as a model says or an experiment measured: predictions-v1 and effects-v1."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from vc_contracts.errors import raised_as

from vc_interp.errors import ContractError, InputError

CONTROL = "control"


@dataclass(frozen=True, eq=False)
class Effects:
    """Mean changes, a row for each condition.

    Attributes:
        labels: [c] perturbation.
        lines: [c] cell line.
        genes: g names.
        delta_cg: [c, g] float32 change against controls.
        source: Where they are from.
    """

    labels: np.ndarray
    lines: np.ndarray
    genes: tuple[str, ...]
    delta_cg: np.ndarray
    source: str

    def singles(self) -> "Effects":
        """Conditions of one target."""
        keep = np.array(["+" not in label for label in self.labels], dtype=bool)
        return Effects(self.labels[keep], self.lines[keep], self.genes, self.delta_cg[keep], self.source)


def read_effects(path: str | Path) -> Effects:
    """Read predictions-v1 (profiles in log1p CP10k, less the control row of their line) or effects-v1.

    Raises:
        ContractError: If it is neither.
        InputError: If it holds cells, or nothing but controls.
    """
    import vc_contracts

    path = Path(path)
    kind = _kind(path)
    with raised_as(ContractError):
        adata = vc_contracts.read(path, kind)
    x_ng = cast("np.ndarray", adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X).astype(np.float32)
    labels, lines = (adata.obs[name].astype(str).to_numpy() for name in ("perturbation", "cell_line"))
    control_n = labels == CONTROL
    if kind == "predictions":
        if adata.uns["unit"] != "profile" or adata.uns["space"] != "log1p_cp10k":
            raise InputError(
                f"{path}: expected profiles in log1p_cp10k, found {adata.uns['unit']} in {adata.uns['space']}. Predict without "
                "--cells."
            )
        base = {line: x_ng[control_n & (lines == line)].mean(axis=0) for line in np.unique(lines)}
        x_ng = x_ng - np.stack([base[line] for line in lines])
    if control_n.all():
        raise InputError(f"{path}: expected perturbed conditions, found only controls.")
    keep = ~control_n
    return Effects(labels[keep], lines[keep], tuple(adata.var_names.astype(str)), x_ng[keep], path.name)


def _kind(path: Path) -> str:
    """Which of the two contracts a file says that it keeps."""
    import json

    from vc_contracts.store import open_store, text_at

    with raised_as(ContractError), open_store(path) as store:
        try:
            name = json.loads(text_at(store, "uns/contract")).get("name")
        except (KeyError, ValueError, AttributeError) as error:
            raise ContractError(
                path, "uns['contract']", "predictions-v1 or effects-v1", "no header", "Write it with vc-model predict."
            ) from error
    if name not in ("predictions", "effects"):
        raise ContractError(path, "contract['name']", "predictions or effects", repr(name), "Give predicted profiles.")
    return str(name)
