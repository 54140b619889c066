"""Readers of screen-v1, splits-v1 and predictions-v1, reader and writer of scores-v1.

Written from docs/contracts; every refusal there is one check here. Readers take a path or the object itself, so that
an in-memory pipeline passes the same checks as files do.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse

from vc_eval.errors import ContractError
from vc_eval.hashing import sha256_tree as sha256_tree

if TYPE_CHECKING:
    import anndata

CONTROL = "control"
MAJOR = 1
PARTS = ("train", "val", "test", "unused")
CONTROL_SETS = ("input", "reference", "evaluation")
SCREEN_OBS = (
    "perturbation", "target", "cell_line", "batch", "is_control", "mode", "dose", "total_counts", "dataset",
)  # fmt: skip
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
    adata, path = _open(screen, "screen")
    remedy = "Convert the source again with vc-data."

    def refuse(field: str, expected: str, found: str) -> None:
        raise ContractError(path, field, expected, found, remedy)

    _check_columns(adata.obs, SCREEN_OBS, path, "obs", remedy)
    _check_columns(adata.var, ("gene_id", "symbol", "measured"), path, "var", remedy)
    _check_unique(adata.obs_names, path, "obs index", remedy)
    _check_unique(adata.var_names, path, "var index", remedy)
    if not isinstance(adata.X, scipy.sparse.csr_matrix | scipy.sparse.csr_array):
        refuse("X", "a CSR matrix", type(adata.X).__name__)
    data = adata.X.data
    if not np.isfinite(data).all():
        refuse("X", "finite counts", f"{int((~np.isfinite(data)).sum())} values that are not")
    if (data < 0).any():
        refuse("X", "counts of 0 or more", f"the negative value {data.min()}")
    if (data != np.trunc(data)).any():
        refuse("X", "whole counts", f"the fraction {data[data != np.trunc(data)][0]}")
    if (data == 0).any() or not adata.X.has_sorted_indices:
        refuse("X", "sorted column indices and no stored zeros", "another layout")
    perturbation = adata.obs["perturbation"].astype(str).to_numpy()
    is_control = _bools(adata.obs["is_control"], path, remedy)
    if (is_control != (perturbation == CONTROL)).any():
        cell = adata.obs_names[int(np.argmax(is_control != (perturbation == CONTROL)))]
        refuse(
            "obs['is_control']", f"true exactly where perturbation is {CONTROL!r}", f"a disagreement at cell {cell!r}"
        )
    if not is_control.any() or is_control.all():
        refuse(
            "obs['is_control']",
            "at least one control and one perturbed cell",
            f"{int(is_control.sum())} controls of {is_control.size} cells",
        )
    mode = pd.to_numeric(adata.obs["mode"], errors="coerce").to_numpy(np.float64)
    if not np.isin(mode, np.arange(9)).all():
        refuse("obs['mode']", "whole numbers 0..8", repr(adata.obs["mode"].to_numpy()[~np.isin(mode, np.arange(9))][0]))
    totals = pd.to_numeric(adata.obs["total_counts"], errors="coerce").to_numpy(np.float64)
    bad = ~(np.isfinite(totals) & (totals > 0))
    if bad.any():
        refuse(
            "obs['total_counts']",
            "finite, positive library sizes",
            f"{totals[bad][0]} at cell {adata.obs_names[int(np.argmax(bad))]!r}",
        )
    _check_groups(adata, path, remedy)
    return adata


def read_splits(splits: "str | Path | dict | Splits", screen: "anndata.AnnData | None" = None) -> Splits:
    """Read and check a splits-v1 file; with a screen, also against it.

    Args:
        splits: Path of the JSON file, or its content.
        screen: From `read_screen`; adds the checks of conditions and control cells against the data.

    Raises:
        ContractError: Any refusal of docs/contracts/splits-v1.md.
    """
    if isinstance(splits, Splits):
        return splits
    path: object = "splits (in memory)" if isinstance(splits, dict) else splits
    remedy = "Make the split again with `vc-data split`."
    content = splits
    if not isinstance(splits, dict):
        _check_exists(Path(splits), "splits")
        try:
            content = json.loads(Path(splits).read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ContractError(path, "file", "JSON", f"text that is not ({error})", remedy) from None

    def refuse(field: str, expected: str, found: str) -> None:
        raise ContractError(path, field, expected, found, remedy)

    if not isinstance(content, dict):
        refuse("file", "a JSON object", type(content).__name__)
    header = _check_header(content.get("contract"), "splits", path)
    for key in ("recipe", "seed", "conditions", "controls"):
        if key not in content:
            refuse(key, "this key", "nothing")
    if not isinstance(content["recipe"], str) or not content["recipe"]:
        refuse("recipe", "the name of a recipe", repr(content["recipe"]))
    rows = content["conditions"]
    if not isinstance(rows, list) or not all(
        isinstance(r, dict) and {"cell_line", "perturbation", "part"} <= r.keys() for r in rows
    ):
        refuse("conditions", "a list of objects with cell_line, perturbation and part", "something else")
    conditions = pd.DataFrame(
        [(str(r["cell_line"]), str(r["perturbation"]), r["part"], str(r.get("why", ""))) for r in rows],
        columns=["cell_line", "perturbation", "part", "why"],
    )
    if not conditions["part"].isin(PARTS).all():
        refuse(
            "conditions[].part", " or ".join(PARTS), repr(conditions["part"][~conditions["part"].isin(PARTS)].iloc[0])
        )
    for part in ("train", "test"):
        if not (conditions["part"] == part).any():
            refuse("conditions", f"at least one {part} condition", "none")
    keys = list(zip(conditions["cell_line"], conditions["perturbation"], strict=True))
    if len(set(keys)) != len(keys):
        refuse("conditions", "each condition once", f"{max(keys, key=keys.count)!r} more often")
    controls = content["controls"]
    if not isinstance(controls, dict) or not all(isinstance(controls.get(name), list) for name in CONTROL_SETS):
        refuse("controls", f"lists of cells under {', '.join(CONTROL_SETS)}", "something else")
    for name in CONTROL_SETS:
        if not controls[name]:
            refuse(f"controls[{name!r}]", "at least one control cell", "an empty list")
    names = [str(cell) for key in CONTROL_SETS for cell in controls[key]]
    if len(set(names)) != len(names):
        refuse("controls", "three lists that share no cell", f"{len(names) - len(set(names))} cells more than once")
    if screen is not None:
        _check_splits_against_screen(set(keys), names, screen, refuse)
    return Splits(
        recipe=content["recipe"], seed=content["seed"], conditions=conditions, header=header,
        controls={name: [str(cell) for cell in controls[name]] for name in CONTROL_SETS},
    )  # fmt: skip


def read_predictions(predictions: "str | Path | anndata.AnnData") -> "anndata.AnnData":
    """Read and check a predictions-v1 file.

    Args:
        predictions: Path of a `.zarr` folder or `.h5ad` file, or the AnnData itself.

    Raises:
        ContractError: Any refusal of docs/contracts/predictions-v1.md.
    """
    adata, path = _open(predictions, "predictions")
    remedy = "Write the predictions again as docs/contracts/predictions-v1.md says."

    def refuse(field: str, expected: str, found: str) -> None:
        raise ContractError(path, field, expected, found, remedy)

    for key, allowed in (("space", ("log1p_cp10k", "counts")), ("unit", ("profile", "cell"))):
        if str(adata.uns.get(key)) not in allowed:
            refuse(f"uns[{key!r}]", " or ".join(allowed), repr(adata.uns.get(key)))
    if not isinstance(adata.uns.get("model"), str) or not adata.uns["model"]:
        refuse("uns['model']", "the model's name", repr(adata.uns.get("model")))
    _check_columns(adata.obs, ("perturbation", "cell_line", "is_control"), path, "obs", remedy)
    _check_unique(adata.var_names, path, "var index", remedy)
    if adata.X is None:
        refuse("X", "the predicted expression", "nothing")
    values = adata.X.data if scipy.sparse.issparse(adata.X) else np.asarray(adata.X)
    if not np.isfinite(values).all():
        refuse("X", "finite values", f"{int((~np.isfinite(values)).sum())} values that are not")
    if (values < 0).any():
        refuse("X", "values of 0 or more", f"the negative value {values.min()}")
    if "sd" in adata.layers:
        sd = adata.layers["sd"].data if scipy.sparse.issparse(adata.layers["sd"]) else np.asarray(adata.layers["sd"])
        if not (np.isfinite(sd).all() and (sd >= 0).all()):
            refuse("layers['sd']", "finite values of 0 or more", "others")
    _check_intervals(adata, path, remedy, refuse)
    perturbation = adata.obs["perturbation"].astype(str).to_numpy()
    cell_line = adata.obs["cell_line"].astype(str).to_numpy()
    is_control = _bools(adata.obs["is_control"], path, remedy)
    if (is_control != (perturbation == CONTROL)).any():
        refuse("obs['is_control']", f"true exactly where perturbation is {CONTROL!r}", "a disagreement")
    without = sorted(set(cell_line) - set(cell_line[is_control]))
    if without:
        refuse("obs", "a control row for every cell line", f"none for {without[:5]!r}")
    if str(adata.uns["unit"]) == "profile":
        keys = pd.Series(cell_line) + "|" + perturbation
        if keys.duplicated().any():
            refuse("obs", "one profile per (cell_line, perturbation)", f"{keys[keys.duplicated()].iloc[0]!r} twice")
    return adata


def _check_intervals(
    adata: "anndata.AnnData", path: Path, remedy: str, refuse: Callable[[str, str, str], None]
) -> None:
    """The optional parts of predictions-v1 that speak about uncertainty."""
    if "sd_epistemic" in adata.layers:
        layer = adata.layers["sd_epistemic"]
        values = layer.data if scipy.sparse.issparse(layer) else np.asarray(layer)
        if not (np.isfinite(values).all() and (values >= 0).all()):
            refuse("layers['sd_epistemic']", "finite values of 0 or more", "others")
    if "supported" in adata.obs and adata.obs["supported"].dtype != bool:
        refuse("obs['supported']", "bool", str(adata.obs["supported"].dtype))
    if "interval_width" not in adata.obsm:
        return
    if "sd" not in adata.layers:
        refuse("obsm['interval_width']", "layers['sd'], which the widths multiply", "none")
    level = np.asarray(adata.uns.get("interval_levels", []), np.float64)
    if level.ndim != 1 or level.size == 0 or not ((level > 0) & (level < 1)).all() or (np.diff(level) <= 0).any():
        refuse("uns['interval_levels']", "rising numbers between 0 and 1", repr(level.tolist())[:80])
    width = np.asarray(adata.obsm["interval_width"], np.float64)
    if width.shape != (adata.n_obs, level.size) or not ((width >= 0).all() and (width[:, 1:] >= width[:, :-1]).all()):
        refuse(
            "obsm['interval_width']", f"values of 0 or more, one per level, rising along {level.size} levels", "others"
        )


def write_scores(
    folder: str | Path, scores: pd.DataFrame, *, parents: dict[str, str], config: dict, summary: dict
) -> None:
    """Write `scores.parquet` and `scores.json` (scores-v1) into a folder, each whole or not at all.

    Rows are sorted by key; the header's `created` is null unless SOURCE_DATE_EPOCH is set, because the bytes may
    depend on nothing but inputs, seed and versions.

    Args:
        folder: Made if absent.
        scores: The columns of scores-v1.
        parents: File name -> sha256 of the inputs.
        config: Seed and settings.
        summary: What a reader wants first; must be JSON.

    Raises:
        ContractError: If the table does not keep the contract.
    """
    import pyarrow
    import pyarrow.parquet

    folder = Path(folder)
    scores = scores.sort_values(SCORE_KEY, kind="stable", ignore_index=True)
    _check_scores(scores, folder / "scores.parquet")
    folder.mkdir(parents=True, exist_ok=True)
    columns = {
        name: pyarrow.array(scores[name].tolist(), getattr(pyarrow, {"double": "float64"}.get(kind, kind))())
        for name, kind in SCORE_TYPES.items()
    }
    with write_whole(folder / "scores.parquet") as temporary:
        pyarrow.parquet.write_table(pyarrow.table(columns), temporary, compression="zstd")
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    header = {
        "name": "scores", "version": f"{MAJOR}.0", "writer": "vc-eval", "writer_version": version("vc-eval"),
        "created": datetime.fromtimestamp(int(epoch), UTC).isoformat() if epoch else None,
        "parents": parents, "config": config,
    }  # fmt: skip
    with write_whole(folder / "scores.json") as temporary:
        text = json.dumps({"contract": header, "summary": summary}, indent=1, sort_keys=True, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_scores(path: str | Path) -> tuple[pd.DataFrame, dict]:
    """Read and check scores-v1.

    Args:
        path: The folder that holds `scores.parquet` and `scores.json`.

    Returns:
        (table, summary).

    Raises:
        ContractError: Any refusal of docs/contracts/scores-v1.md.
    """
    import pyarrow

    path = Path(path)
    remedy = "Score again with `vc-eval cells`."
    for name in ("scores.json", "scores.parquet"):
        _check_exists(path / name, "scores")
    try:
        content = json.loads((path / "scores.json").read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ContractError(path / "scores.json", "file", "JSON", f"text that is not ({error})", remedy) from None
    _check_header(content.get("contract") if isinstance(content, dict) else None, "scores", path / "scores.json")
    try:
        scores = pd.read_parquet(path / "scores.parquet")
    except (pyarrow.ArrowException, OSError) as error:
        raise ContractError(path / "scores.parquet", "file", "a parquet table", str(error), remedy) from None
    _check_scores(scores, path / "scores.parquet")
    return scores, content.get("summary", {})


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside a file; rename it on success, remove it on failure."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _open(source: object, name: str) -> tuple["anndata.AnnData", object]:
    import anndata

    if isinstance(source, anndata.AnnData):
        adata, path = source, f"{name} (in memory)"
    else:
        path = Path(str(source))
        _check_exists(path, name)
        try:
            adata = anndata.read_h5ad(path) if path.suffix == ".h5ad" else anndata.read_zarr(path)
        except MemoryError:
            raise
        except Exception as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ContractError(
                path,
                "file",
                "an AnnData (.zarr folder or .h5ad)",
                f"something unreadable ({first})",
                f"Pass a {name}-v1 file.",
            ) from error
    _check_header(adata.uns.get("contract"), name, path)
    return adata, path


def _check_exists(path: Path, name: str) -> None:
    if not path.exists():
        raise ContractError(path, "file", f"a {name}-v1 file", "nothing there", "Check the path.")


def _check_header(header: object, name: str, path: object) -> dict:
    remedy = f"Pass a file that follows docs/contracts/{name}-v1.md."
    if isinstance(header, str):
        with contextlib.suppress(json.JSONDecodeError):
            header = json.loads(header)
    if not isinstance(header, dict):
        raise ContractError(path, "contract", "a JSON object", repr(header), remedy)
    for key in ("name", "version"):
        if not isinstance(header.get(key), str):
            raise ContractError(path, f"contract[{key!r}]", "a string", repr(header.get(key)), remedy)
    if header["name"] != name:
        raise ContractError(path, "contract['name']", repr(name), repr(header["name"]), remedy)
    major = header["version"].split(".")[0]
    if not major.isdigit():
        raise ContractError(path, "contract['version']", "MAJOR.MINOR", repr(header["version"]), remedy)
    if int(major) > MAJOR:
        raise ContractError(
            path, "contract['version']", f"major version {MAJOR}", repr(header["version"]), "Update vc-eval to read it."
        )
    return header


def _check_columns(frame: pd.DataFrame, columns: tuple[str, ...], path: object, where: str, remedy: str) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ContractError(path, where, f"the columns {', '.join(columns)}", f"no {', '.join(missing)}", remedy)


def _check_unique(index: pd.Index, path: object, where: str, remedy: str) -> None:
    if not index.is_unique:
        raise ContractError(path, where, "unique names", f"{index[index.duplicated()][0]!r} more than once", remedy)


def _bools(column: pd.Series, path: object, remedy: str) -> np.ndarray:
    if column.isna().any() or not column.isin([True, False]).all():
        raise ContractError(path, f"obs[{column.name!r}]", "booleans", f"dtype {column.dtype}", remedy)
    return column.to_numpy(bool)


def _check_groups(adata: "anndata.AnnData", path: object, remedy: str) -> None:
    groups = adata.uns.get("groups")
    keys = ["cell_line", "perturbation", "batch"]
    if not isinstance(groups, pd.DataFrame):
        raise ContractError(path, "uns['groups']", "a data frame", type(groups).__name__, remedy)
    _check_columns(groups, (*keys, "start", "stop"), path, "uns['groups']", remedy)
    start, stop = groups["start"].to_numpy(), groups["stop"].to_numpy()
    edges = np.concatenate([[0], stop])
    tiles = len(groups) > 0 and (start == edges[:-1]).all() and (stop > start).all() and edges[-1] == adata.n_obs
    if not tiles:
        raise ContractError(path, "uns['groups']", f"slices that tile 0..{adata.n_obs}", "gaps or overlaps", remedy)
    for key in keys:
        if (np.repeat(groups[key].astype(str).to_numpy(), stop - start) != adata.obs[key].astype(str).to_numpy()).any():
            raise ContractError(path, "uns['groups']", f"the {key} of obs in every slice", "a disagreement", remedy)
    if groups[keys].astype(str).duplicated().any():
        raise ContractError(path, "uns['groups']", "each (cell_line, perturbation, batch) once", "a repeat", remedy)


def _check_splits_against_screen(keys: set, names: list[str], screen: "anndata.AnnData", refuse: object) -> None:
    obs = screen.obs
    perturbed = ~obs["is_control"].to_numpy(bool)
    held = set(zip(obs["cell_line"].astype(str)[perturbed], obs["perturbation"].astype(str)[perturbed], strict=True))
    if keys - held:
        refuse("conditions", "conditions of the screen", f"{len(keys - held)} unknown, e.g. {min(keys - held)!r}")
    if held - keys:
        refuse("conditions", "every condition of the screen", f"{len(held - keys)} missing, e.g. {min(held - keys)!r}")
    known = set(obs.index[~perturbed])
    unknown = [name for name in names if name not in known]
    if unknown:
        refuse("controls", "control cells of the screen", f"{len(unknown)} others, e.g. {unknown[0]!r}")


def _check_scores(scores: pd.DataFrame, path: Path) -> None:
    remedy = "Score again with `vc-eval cells`."
    _check_columns(scores, tuple(SCORE_TYPES), path, "columns", remedy)
    outside = (scores["value"] < scores["lower"]) | (scores["value"] > scores["upper"])
    if outside.any():
        row = scores[outside].iloc[0]
        raise ContractError(
            path,
            "value",
            "a value inside [lower, upper]",
            f"{row['value']} outside [{row['lower']}, {row['upper']}]",
            remedy,
        )
    if scores.duplicated(SCORE_KEY).any():
        row = scores[scores.duplicated(SCORE_KEY)].iloc[0]
        raise ContractError(
            path, "rows", f"one row per {', '.join(SCORE_KEY)}", f"{tuple(row[SCORE_KEY])!r} twice", remedy
        )
