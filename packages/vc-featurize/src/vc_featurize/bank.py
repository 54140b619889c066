"""The contract features-v1: one float32 vector per perturbed entity, as AnnData.

Every encoder returns a `FeatureBank`; this file alone turns it into a file and back, and decides what is refused. The
format is in docs/contracts/features-v1.md.
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

from vc_featurize.errors import ContractError

if TYPE_CHECKING:
    from anndata import AnnData

NAME = "features"
VERSION = "1.0"
KINDS = ("gene", "guide", "protein", "compound")
ENCODER_KEYS = ("id", "revision", "pooling", "dtype", "dim", "licence")


@dataclass(frozen=True, kw_only=True)
class FeatureBank:
    """Vectors of entities with their provenance.

    Attributes:
        vectors_ef: float32 [e, f]; one row per entity, zeros where `missing`.
        entities: Unique names, as in the targets of a screen: gene symbol, guide sequence or compound id.
        kinds: `gene`, `guide`, `protein` or `compound`, per entity.
        sources: Id of the record each vector was made from; empty where nothing was found.
        missing: bool [e]; true where nothing was found for the entity.
        dims: Unique names of the f dimensions.
        encoder: `id`, `revision`, `pooling`, `dtype`, `dim`, `licence`, and anything else the encoder wants to state.
        notes: Optional remark per entity (why it is missing, what was changed); empty tuple for none.
        header: The contract header of the file the bank was read from; empty for a bank that was just made.
    """

    vectors_ef: np.ndarray
    entities: tuple[str, ...]
    kinds: tuple[str, ...]
    sources: tuple[str, ...]
    missing: np.ndarray
    dims: tuple[str, ...]
    encoder: dict[str, Any]
    notes: tuple[str, ...] = ()
    header: dict[str, Any] = field(default_factory=dict)


def write_features(
    path: str | Path,
    bank: FeatureBank,
    *,
    parents: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write a bank as `PATH.zarr`, or as `.h5ad` where the name ends so; whole or not at all.

    The bank is checked by the reader's own rules first, so that nothing is written that would be refused later.

    Args:
        path: Target; replaced when it exists.
        bank: What to write.
        parents: File name -> sha256 of the inputs.
        config: The choices that made the bank.

    Raises:
        ContractError: If the bank breaks features-v1.
    """
    import pandas as pd
    from anndata import AnnData

    path = Path(path)
    vectors_ef = np.asarray(bank.vectors_ef)
    n = len(bank.entities)
    lengths = {"kinds": len(bank.kinds), "sources": len(bank.sources), "missing": len(bank.missing)}
    if bank.notes:
        lengths["notes"] = len(bank.notes)
    uneven = {name: length for name, length in lengths.items() if length != n}
    if uneven or vectors_ef.shape != (n, len(bank.dims)):
        found = f"X of shape {vectors_ef.shape} and {uneven or 'nothing else uneven'}"
        _refuse(path, "bank", f"{n} entities x {len(bank.dims)} dimensions", found, "Make the lengths agree")
    obs = {
        "kind": pd.Categorical(bank.kinds),
        "source": pd.array(bank.sources, dtype=object),
        "missing": np.asarray(bank.missing),
    }
    if bank.notes:
        obs["note"] = pd.array(bank.notes, dtype=object)
    # Object strings are written as plain string arrays, which every anndata release reads.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # repeated names are refused below, with the names in the text
        adata = AnnData(
            X=vectors_ef,
            obs=pd.DataFrame(obs, index=pd.Index(bank.entities, dtype=object)),
            var=pd.DataFrame(index=pd.Index(bank.dims, dtype=object)),
            uns={
                "contract": json.dumps(_header(parents or {}, config or {}), sort_keys=True),
                "encoder": json.dumps(bank.encoder, sort_keys=True),
            },
        )
    _bank_of(adata, path)
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


def read_features(path: str | Path) -> FeatureBank:
    """Read a bank and check every rule of features-v1.

    Args:
        path: A zarr folder, or the same AnnData as `.h5ad`.

    Returns:
        The bank, with the file's header in `header`.

    Raises:
        ContractError: If the file is absent, damaged or breaks the contract.
    """
    import anndata

    path = Path(path)
    if not path.exists():
        raise ContractError(f"{path}: no such file. Make a bank with `vc-featurize`.")
    try:
        with warnings.catch_warnings():
            # Repeated names are refused below with the names in the text; a warning would only come before it.
            warnings.simplefilter("ignore")
            adata = anndata.read_h5ad(path) if path.is_file() else anndata.read_zarr(path)
    except Exception as error:  # a damaged file fails in many foreign ways; each gets the same answer
        raise ContractError(
            f"{path}: cannot be read as AnnData ({type(error).__name__}: {error}). "
            "The file is damaged, half-copied or of another format: make or copy it again."
        ) from error
    return _bank_of(adata, path)


def _bank_of(adata: "AnnData", path: Path) -> FeatureBank:
    """Check an AnnData against features-v1 and take the bank out of it."""
    header = _json(adata, "contract", path)
    _check_header(header, path)
    encoder = _json(adata, "encoder", path)
    for key in ENCODER_KEYS:
        if key not in encoder:
            _refuse(path, "uns['encoder']", f"the keys {list(ENCODER_KEYS)}", f"no {key!r}", "Add it")
    for column in ("kind", "source", "missing"):
        if column not in adata.obs:
            _refuse(path, f"obs[{column!r}]", "a column", f"only {list(adata.obs.columns)}", "Add it")
    for field_name, names in (("obs index", adata.obs_names), ("var index", adata.var_names)):
        if not names.is_unique:
            repeated = sorted(set(names[names.duplicated()].astype(str)))
            _refuse(path, field_name, "unique names", f"{len(repeated)} repeated: {repeated[:5]}", "Keep one of each")
    kinds = adata.obs["kind"].astype(str).tolist()
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        _refuse(path, "obs['kind']", f"one of {list(KINDS)}", f"{unknown[:5]}", "Correct the labels")
    sources = adata.obs["source"]
    if sources.isna().any() or not all(isinstance(value, str) for value in sources):
        _refuse(path, "obs['source']", "a string per row", "other values", "Write an empty string where there is none")
    missing = adata.obs["missing"].to_numpy()
    if missing.dtype != bool:
        _refuse(path, "obs['missing']", "bool", f"{missing.dtype}", "Convert it")
    vectors_ef = adata.X
    if not isinstance(vectors_ef, np.ndarray) or vectors_ef.dtype != np.float32:
        found = f"{type(vectors_ef).__name__} of {getattr(vectors_ef, 'dtype', 'no type')}"
        _refuse(path, "X", "a dense float32 matrix", found, "Convert it")
    if not np.isfinite(vectors_ef).all():
        bad = adata.obs_names[~np.isfinite(vectors_ef).all(axis=1)].tolist()
        _refuse(path, "X", "finite values", f"non-finite values in {len(bad)} rows: {bad[:5]}", "Mark them missing")
    if vectors_ef[missing].any():
        bad = adata.obs_names[missing & vectors_ef.any(axis=1)].tolist()
        found = f"other values in {len(bad)} rows: {bad[:5]}"
        _refuse(path, "obs['missing']", "zeros in X where missing", found, "Zero the rows or correct the flag")
    if encoder["dim"] != adata.n_vars:
        _refuse(path, "uns['encoder'] dim", f"{adata.n_vars}, the columns of X", f"{encoder['dim']!r}", "Correct it")
    return FeatureBank(
        vectors_ef=vectors_ef,
        entities=tuple(adata.obs_names.astype(str)),
        kinds=tuple(kinds),
        sources=tuple(sources),
        missing=missing,
        dims=tuple(adata.var_names.astype(str)),
        encoder=encoder,
        notes=tuple(adata.obs["note"].astype(str)) if "note" in adata.obs else (),
        header=header,
    )


def _json(adata: "AnnData", key: str, path: Path) -> dict[str, Any]:
    """The JSON object under `uns[key]`."""
    text = adata.uns.get(key)
    if not isinstance(text, str):
        found = "nothing" if text is None else type(text).__name__
        _refuse(path, f"uns[{key!r}]", "a string that holds a JSON object", found, "Write the file with its encoder")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        _refuse(path, f"uns[{key!r}]", "a JSON object", f"text that is not JSON ({error})", "Make the file again")
    if not isinstance(value, dict):
        _refuse(path, f"uns[{key!r}]", "a JSON object", type(value).__name__, "Make the file again")
    return value


def _check_header(header: Mapping[str, Any], path: Path) -> None:
    """Refuse another contract and a greater major version."""
    for key in ("name", "version"):
        if not isinstance(header.get(key), str):
            _refuse(path, f"contract {key}", "a string", repr(header.get(key)), "Make the file again")
    if header["name"] != NAME:
        _refuse(path, "contract name", repr(NAME), repr(header["name"]), "Give a feature bank")
    major = header["version"].split(".")[0]
    if not major.isdecimal() or int(major) < 1:
        _refuse(path, "contract version", "e.g. '1.0'", repr(header["version"]), "Make the file again")
    if int(major) > int(VERSION.split(".")[0]):
        _refuse(path, "contract version", "1.x", repr(header["version"]), "Update vc-featurize")


def _header(parents: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    """The contract header; `created` is SOURCE_DATE_EPOCH where that is set, for reproducible bytes."""
    from vc_featurize import __version__

    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    created = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return {
        "name": NAME,
        "version": VERSION,
        "writer": "vc-featurize",
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
