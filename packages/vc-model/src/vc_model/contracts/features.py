"""features-v1: one vector per perturbed entity, made outside this package."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vc_model.contracts.header import check_header, refusal

ENCODER_KEYS = ("id", "revision", "pooling", "dtype", "dim", "licence")
KINDS = ("gene", "guide", "protein", "compound")


@dataclass(frozen=True)
class FeatureBank:
    """Vectors by entity.

    Attributes:
        name: The encoder's id.
        entities: [e] entity names (gene symbols, guides or compounds), as targets are named in the screen.
        vectors_ef: [e, f] float32; zeros where missing.
        missing_e: [e] bool.
        kind: What the entities are: `gene`, `guide`, `protein` or `compound`; the kind of most.
    """

    name: str
    entities: tuple[str, ...]
    vectors_ef: np.ndarray
    missing_e: np.ndarray
    kind: str = "gene"


def read_features(path: Path | str) -> FeatureBank:
    """Read and check a feature bank.

    Raises:
        ContractError: For every refusal of docs/contracts/features-v1.md.
    """
    path = Path(path)
    adata = read_anndata(path, "features")
    vectors_ef = np.asarray(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X, dtype=np.float32)
    for column in ("kind", "source", "missing"):
        if column not in adata.obs:
            raise refusal(path, f'obs["{column}"]', "a column", "nothing")
    if not adata.obs_names.is_unique:
        raise refusal(path, "obs index", "each entity once", "repeated entities")
    if not adata.var_names.is_unique:
        raise refusal(path, "var index", "unique names", "repeated names")
    unknown = set(adata.obs["kind"].astype(str)) - set(KINDS)
    if unknown:
        raise refusal(path, 'obs["kind"]', f"one of {KINDS}", repr(sorted(unknown)[:5]))
    if not np.isfinite(vectors_ef).all():
        raise refusal(path, "X", "finite vectors", "NaN or infinity")
    if adata.obs["missing"].dtype != bool:
        raise refusal(path, 'obs["missing"]', "bool", str(adata.obs["missing"].dtype))
    missing_e = adata.obs["missing"].to_numpy()
    if vectors_ef[missing_e].any():
        raise refusal(path, "X", "zeros where missing", "values in missing rows")
    encoder = _read_encoder(path, adata.uns.get("encoder"))
    if encoder["dim"] != vectors_ef.shape[1]:
        raise refusal(path, 'uns["encoder"].dim', f"{vectors_ef.shape[1]}, the number of columns", repr(encoder["dim"]))
    kind = str(adata.obs["kind"].astype(str).mode().iloc[0]) if len(adata.obs) else "gene"
    return FeatureBank(str(encoder["id"]), tuple(adata.obs_names.astype(str)), vectors_ef, missing_e, kind)


def read_anndata(path: Path, contract: str):
    """Open an AnnData contract file of either form into memory and check its header.

    Raises:
        ContractError: If the file cannot be opened as AnnData, or its header is not one this package reads.
    """
    import anndata

    if not path.exists():
        raise refusal(path, "file", f"a {contract} file (.zarr or .h5ad)", "nothing", "Check the path.")
    try:
        adata = anndata.read_zarr(path) if path.is_dir() else anndata.read_h5ad(path)
    except Exception as error:  # anndata, zarr and h5py each raise their own kinds for a damaged file
        raise refusal(path, "file", "an AnnData", f"a file anndata cannot open ({error})") from error
    if "contract" not in adata.uns:
        raise refusal(path, 'uns["contract"]', "a JSON object with name and version", "nothing")
    check_header(path, adata.uns["contract"], contract)
    if adata.X is None:
        raise refusal(path, "X", "a matrix", "nothing")
    return adata


def _read_encoder(path: Path, text: object) -> dict:
    try:
        encoder = json.loads(text)
    except (TypeError, json.JSONDecodeError) as error:
        raise refusal(path, 'uns["encoder"]', "a JSON object", repr(text)[:80]) from error
    absent = [key for key in ENCODER_KEYS if not isinstance(encoder, dict) or key not in encoder]
    if absent:
        raise refusal(path, 'uns["encoder"]', f"the keys {ENCODER_KEYS}", f"{absent} absent")
    return encoder
