"""The contract latents-v1: activations of a model at one named site, as AnnData.

Reads, writes and refuses; what the numbers mean is left to the analyses. The format is in docs/contracts/latents-v1.md.
"""

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from vc_interp.errors import ContractError

if TYPE_CHECKING:
    from anndata import AnnData

NAME = "latents"
VERSION = "1.0"
KINDS = ("cell", "condition", "gene", "action")


@dataclass(frozen=True, kw_only=True)
class Latents:
    """Activations with their identities.

    Attributes:
        values_rd: float32 [r, d]; one row per thing observed, one column per latent dimension.
        rows: Unique row identities.
        kinds: `cell`, `condition`, `gene` or `action`, per row.
        dims: Unique names of the d dimensions.
        site: Where in the model, e.g. `residual/hidden`.
        model: The model's name.
        header: The contract header of the file they were read from; empty for latents that were just made.
    """

    values_rd: np.ndarray
    rows: tuple[str, ...]
    kinds: tuple[str, ...]
    dims: tuple[str, ...]
    site: str
    model: str
    header: dict[str, Any] = field(default_factory=dict)

    def of_kind(self, kind: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """Values and identities of the rows of one kind."""
        chosen = np.array([k == kind for k in self.kinds], dtype=bool)
        return self.values_rd[chosen], tuple(row for row, take in zip(self.rows, chosen, strict=True) if take)


def write_latents(
    path: str | Path,
    latents: Latents,
    *,
    parents: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write latents as `PATH.zarr`, or as `.h5ad` where the name ends so; whole or not at all.

    The reader's own rules are checked first, so that nothing is written that would be refused later.

    Args:
        path: Target; replaced when it exists.
        latents: What to write.
        parents: File name -> sha256 of the inputs.
        config: The choices that made the latents.

    Raises:
        ContractError: If they break latents-v1.
    """
    import pandas as pd
    from anndata import AnnData

    path = Path(path)
    values_rd = np.asarray(latents.values_rd)
    shape = (len(latents.rows), len(latents.dims))
    if values_rd.shape != shape or len(latents.kinds) != shape[0]:
        found = f"X of shape {values_rd.shape} and {len(latents.kinds)} kinds"
        _refuse(path, "latents", f"{shape[0]} rows x {shape[1]} dimensions", found, "Make the lengths agree")
    # Object strings are written as plain string arrays, which every anndata release reads.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # repeated names are refused below, with the names in the text
        adata = AnnData(
            X=values_rd,
            obs=pd.DataFrame({"kind": pd.Categorical(latents.kinds)}, index=pd.Index(latents.rows, dtype=object)),
            var=pd.DataFrame(index=pd.Index(latents.dims, dtype=object)),
            uns={
                "contract": json.dumps(_header(parents or {}, config or {}), sort_keys=True),
                "site": latents.site,
                "model": latents.model,
            },
        )
    _latents_of(adata, path)
    tmp_path = path.with_name(f".{path.name}.tmp-{os.getpid()}{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if path.suffix == ".h5ad":
            adata.write_h5ad(tmp_path)
        else:
            adata.write_zarr(tmp_path)
        _replace(path, tmp_path)
    finally:
        _remove(tmp_path)
    return path


def read_latents(path: str | Path) -> Latents:
    """Read latents and check every rule of latents-v1.

    Args:
        path: A zarr folder, or the same AnnData as `.h5ad`.

    Returns:
        The latents, with the file's header in `header`.

    Raises:
        ContractError: If the file is absent, damaged or breaks the contract.
    """
    import anndata

    path = Path(path)
    if not path.exists():
        raise ContractError(f"{path}: no such file. Check the path, or let a model write its latents first.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adata = anndata.read_h5ad(path) if path.is_file() else anndata.read_zarr(path)
    except Exception as error:  # a damaged file fails in many foreign ways; each gets the same answer
        raise ContractError(
            f"{path}: cannot be read as AnnData ({type(error).__name__}: {error}). "
            "The file is damaged, half-copied or of another format: make or copy it again."
        ) from error
    return _latents_of(adata, path)


def _latents_of(adata: "AnnData", path: Path) -> Latents:
    """Check an AnnData against latents-v1 and take the latents out of it."""
    header = _header_of(adata, path)
    for key in ("site", "model"):
        if not isinstance(adata.uns.get(key), str) or not adata.uns[key]:
            found = repr(adata.uns[key]) if key in adata.uns else "nothing"
            _refuse(path, f"uns[{key!r}]", "a name", found, "Add it")
    if "kind" not in adata.obs:
        _refuse(path, "obs['kind']", "a column", f"only {list(adata.obs.columns)}", "Add it")
    kinds = adata.obs["kind"].astype(str).tolist()
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        _refuse(path, "obs['kind']", f"one of {list(KINDS)}", f"{unknown[:5]}", "Correct the labels")
    for field_name, names in (("obs index", adata.obs_names), ("var index", adata.var_names)):
        if not names.is_unique:
            repeated = sorted(set(names[names.duplicated()].astype(str)))
            _refuse(path, field_name, "unique names", f"{len(repeated)} repeated: {repeated[:5]}", "Keep one of each")
    values_rd = adata.X
    if not isinstance(values_rd, np.ndarray) or values_rd.dtype != np.float32:
        found = f"{type(values_rd).__name__} of {getattr(values_rd, 'dtype', 'no type')}"
        _refuse(path, "X", "a dense float32 matrix", found, "Convert it")
    if not np.isfinite(values_rd).all():
        bad = adata.obs_names[~np.isfinite(values_rd).all(axis=1)].tolist()
        _refuse(path, "X", "finite values", f"non-finite values in {len(bad)} rows: {bad[:5]}", "Drop those rows")
    return Latents(
        values_rd=values_rd,
        rows=tuple(adata.obs_names.astype(str)),
        kinds=tuple(kinds),
        dims=tuple(adata.var_names.astype(str)),
        site=adata.uns["site"],
        model=adata.uns["model"],
        header=header,
    )


def _header_of(adata: "AnnData", path: Path) -> dict[str, Any]:
    """The contract header; refuses another contract and a greater major version."""
    text = adata.uns.get("contract")
    try:
        header = json.loads(text) if isinstance(text, str) else None
    except json.JSONDecodeError:
        header = None
    if not isinstance(header, dict):
        found = "nothing" if text is None else repr(text)[:60]
        _refuse(path, "uns['contract']", "a string that holds a JSON object", found, "Write the file again")
    for key in ("name", "version"):
        if not isinstance(header.get(key), str):
            _refuse(path, f"contract {key}", "a string", repr(header.get(key)), "Write the file again")
    if header["name"] != NAME:
        _refuse(path, "contract name", repr(NAME), repr(header["name"]), "Give a latents file")
    major = header["version"].split(".")[0]
    if not major.isdecimal() or int(major) < 1:
        _refuse(path, "contract version", "e.g. '1.0'", repr(header["version"]), "Write the file again")
    if int(major) > int(VERSION.split(".")[0]):
        _refuse(path, "contract version", "1.x", repr(header["version"]), "Update vc-interp")
    return header


def _header(parents: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    """A new header; `created` is SOURCE_DATE_EPOCH where that is set, for reproducible bytes."""
    from vc_interp import __version__

    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    created = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return {
        "name": NAME,
        "version": VERSION,
        "writer": "vc-interp",
        "writer_version": __version__,
        "created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "parents": dict(parents),
        "config": dict(config),
    }


def _refuse(path: Path, field_name: str, expected: str, found: str, remedy: str) -> NoReturn:
    raise ContractError(f"{path}: {field_name}: expected {expected}; found {found}. {remedy}.")


def _replace(path: Path, tmp_path: Path) -> None:
    """Rename over `path`; an older folder there steps aside first, because a folder cannot be renamed over another."""
    if not path.is_dir():
        tmp_path.replace(path)
        return
    aside = tmp_path.with_name(f"{tmp_path.name}.old")
    path.rename(aside)
    tmp_path.rename(path)
    _remove(aside)


def _remove(path: Path) -> None:
    """Remove a file or folder where it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
