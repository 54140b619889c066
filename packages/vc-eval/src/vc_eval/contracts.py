"""Readers of screen-v1, splits-v1 and predictions-v1, reader and writer of scores-v1.

What is refused is decided in `vc_contracts`. Readers take a path or the object itself, so that an in-memory pipeline
passes the same checks as files do.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from vc_contracts.content import hash_json
from vc_contracts.errors import raised_as
from vc_contracts.header import make_header
from vc_contracts.rules import CONTROL, CONTROL_SETS
from vc_contracts.whole import check_target, write_whole

from vc_eval.errors import ContractError
from vc_eval.hashing import sha256_tree

if TYPE_CHECKING:
    import anndata

__all__ = [
    "CONTROL",
    "Splits",
    "check_same_truth",
    "check_target",
    "fill_scores",
    "is_effects",
    "read_effects",
    "read_predictions",
    "read_scores",
    "read_screen",
    "read_splits",
    "sha256_tree",
    "write_scores",
    "write_whole",
]
SCORE_TYPES = {
    "model": "string", "dataset": "string", "split": "string", "metric": "string", "group": "string",
    "value": "double", "lower": "double", "upper": "double", "n": "int64", "baseline": "double", "ceiling": "double",
    "metric_version": "string",
}  # fmt: skip
SCORE_KEY = ["model", "dataset", "split", "metric", "group"]


@dataclass(frozen=True, kw_only=True)
class Splits:
    """What is held out, as splits-v1 states it."""

    recipe: str
    seed: int
    conditions: pd.DataFrame
    """Columns `cell_line`, `perturbation`, `part`, `why` (empty unless unused)."""
    controls: dict[str, list[str]]
    """Names of control cells under `input`, `reference` and `evaluation`."""
    header: dict


def read_screen(screen: "str | Path | anndata.AnnData") -> "anndata.AnnData":
    """Read and check a screen-v1 file.

    Args:
        screen: Path of a `.zarr` folder or `.h5ad` file, or the AnnData itself.

    Raises:
        ContractError: Any refusal of docs/contracts/screen-v1.md.
    """
    return _read(screen, "screen")


def read_predictions(predictions: "str | Path | anndata.AnnData") -> "anndata.AnnData":
    """Read and check a predictions-v1 file.

    The argument is as that of `read_screen`.

    Raises:
        ContractError: Any refusal of docs/contracts/predictions-v1.md.
    """
    return _read(predictions, "predictions")


def read_effects(effects: "str | Path | anndata.AnnData") -> "anndata.AnnData":
    """Read and check an effects-v1 file; control rows are left out.

    Args:
        effects: Path of a `.zarr` folder or `.h5ad` file, or the AnnData itself.

    Raises:
        ContractError: Any refusal of docs/contracts/effects-v1.md.
    """
    adata = _read(effects, "effects")
    if "is_control" in adata.obs and adata.obs["is_control"].any():
        return adata[~adata.obs["is_control"].to_numpy()].copy()
    return adata


def is_effects(path: str | Path) -> bool:
    """Whether a file says in its header that it is effects-v1; nothing else is checked."""
    from vc_contracts.kinds import header_of

    return Path(path).exists() and header_of(Path(path)).get("name") == "effects"


def read_splits(splits: "str | Path | dict | Splits", screen: "anndata.AnnData | None" = None) -> Splits:
    """Read and check a splits-v1 file; with a screen, also against it.

    Args:
        splits: Path of the JSON file, or its content.
        screen: From `read_screen`; adds the checks of conditions and control cells against the data.

    Raises:
        ContractError: Any refusal of docs/contracts/splits-v1.md.
    """
    import vc_contracts

    if isinstance(splits, Splits):
        return splits
    with raised_as(ContractError):
        if isinstance(splits, dict):
            content = splits
            vc_contracts.check(content, "splits", "splits (in memory)", screen=screen)
        else:
            content = vc_contracts.read(splits, "splits", screen=screen)
    rows = [(row["cell_line"], row["perturbation"], row["part"], row.get("why", "")) for row in content["conditions"]]
    return Splits(
        recipe=content["recipe"],
        seed=content["seed"],
        conditions=pd.DataFrame(rows, columns=["cell_line", "perturbation", "part", "why"]),
        header=content["contract"],
        controls={name: list(content["controls"][name]) for name in CONTROL_SETS},
    )


def write_scores(
    folder: str | Path,
    scores: pd.DataFrame,
    *,
    parents: dict[str, str],
    config: dict,
    summary: dict,
    overwrite: bool = False,
) -> None:
    """Write a folder of scores (scores-v1): `scores.parquet` and `scores.json` appear together or not at all.

    Args:
        folder: Made; as `vc_contracts.write_whole` has it.
        scores: As `fill_scores`.
        parents: As `fill_scores`.
        config: As `fill_scores`.
        summary: As `fill_scores`.
        overwrite: Replace an earlier folder of scores.

    Raises:
        ContractError: If the table does not keep the contract.
        OutputError: If something stands there that may not be replaced.
    """
    with write_whole(folder, kind="scores", overwrite=overwrite, make_parent=True) as temporary:
        temporary.mkdir()
        fill_scores(temporary, scores, parents=parents, config=config, summary=summary)


def fill_scores(folder: Path, scores: pd.DataFrame, *, parents: dict[str, str], config: dict, summary: dict) -> None:
    """Write `scores.parquet` and `scores.json` into a folder that is being made (inside `write_whole`).

    Rows are sorted by key; the header's `created` is null unless SOURCE_DATE_EPOCH is set, because the bytes may
    depend on nothing but inputs, seed and versions.

    Args:
        folder: An existing folder.
        scores: The columns of scores-v1.
        parents: File name -> sha256 of the inputs.
        config: Seed and settings.
        summary: What a reader wants first; must be JSON.

    Raises:
        ContractError: If the table does not keep the contract.
    """
    import pyarrow
    import pyarrow.parquet
    import vc_contracts

    scores = scores.sort_values(SCORE_KEY, kind="stable", ignore_index=True)
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    header = make_header("scores", writer="vc-eval", parents=parents, config=config)
    header["created"] = header["created"] if epoch else None
    with raised_as(ContractError):
        vc_contracts.check({"contract": header, "table": scores}, "scores", folder / "scores.parquet")
    columns = {
        name: pyarrow.array(scores[name].tolist(), getattr(pyarrow, {"double": "float64"}.get(kind, kind))())
        for name, kind in SCORE_TYPES.items()
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "scores.parquet", compression="zstd")
    header["content"] = {"scores.parquet": sha256_tree(folder / "scores.parquet"), "summary": hash_json(summary)}
    text = json.dumps({"contract": header, "summary": summary}, indent=1, sort_keys=True, allow_nan=False)
    (folder / "scores.json").write_text(text + "\n", encoding="utf-8")


def check_same_truth(first: str | Path, second: str | Path) -> None:
    """Refuse to compare scores of two versions of the real data, by the hashes among the parents of each folder.

    Args:
        first: Folder of scores.
        second: The other one; its header names the files that hold the truth.

    Raises:
        ContractError: Their truth has other content. Scores that do not name it are not judged.
    """
    from vc_contracts.content import SWITCH, trusting
    from vc_contracts.kinds import header_of

    truths = []
    for folder in (first, second):
        header = header_of(Path(folder))
        names = header.get("config", {}).get("truth", [])
        parents = header.get("parents") or {}
        truths.append({parents[name]: name for name in names if name in parents})
    if not all(truths) or trusting() or set(truths[0]) == set(truths[1]):
        return
    other = [name for content, name in truths[1].items() if content not in truths[0]] or list(truths[1].values())
    raise ContractError(
        second,
        "contract['parents']",
        f"scores of the same data as {first}",
        f"another content of {', '.join(map(repr, other))}",
        f"Score both predictions on one version of the data. {SWITCH}=1 compares them all the same.",
    )


def read_scores(path: str | Path) -> tuple[pd.DataFrame, dict]:
    """Read and check scores-v1.

    Args:
        path: The folder that holds `scores.parquet` and `scores.json`.

    Returns:
        (table, summary).

    Raises:
        ContractError: Any refusal of docs/contracts/scores-v1.md.
    """
    import vc_contracts

    with raised_as(ContractError):
        content = vc_contracts.read(path, "scores")
    return content["table"], content["summary"]


def _read(source: "str | Path | anndata.AnnData", name: str) -> "anndata.AnnData":
    import vc_contracts

    with raised_as(ContractError):
        if isinstance(source, str | Path):
            return vc_contracts.read(source, name)
        vc_contracts.check(source, name, f"{name} (in memory)")
    return source
