"""A second reader, written from the pages of docs/contracts alone: says yes or no, and shares no code with the first."""

import json

import numpy as np
import pandas as pd

TEXT = {
    "screen": ["perturbation", "target", "cell_line", "batch", "dataset"],
    "predictions": ["perturbation", "cell_line"],
    "features": ["kind", "source"],
    "effects": ["perturbation", "target", "cell_line"],
    "latents": ["kind"],
}
WORDS = {
    "predictions": {"space": ("log1p_cp10k", "counts"), "unit": ("profile", "cell"), "model": None},
    "effects": {"space": ("log1p_delta", "log_fold_change", "z", "rank")},
    "latents": {"site": None, "model": None},
}


def keeps(adata, contract: str) -> bool:
    """Whether an AnnData keeps a contract."""
    try:
        return bool(_header(adata, contract) and _common(adata, contract) and globals()[f"_{contract}"](adata))
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def _header(adata, contract: str) -> bool:
    header = json.loads(adata.uns["contract"])
    major = header["version"].split(".")[0]
    fits = header["name"] == contract and major.isascii() and major.isdecimal() and len(major) < 9 and int(major) == 1
    return fits and all(isinstance(header.get(key, {}), dict) for key in ("parents", "config"))


def _common(adata, contract: str) -> bool:
    texts = all(_text(adata.obs[column]) for column in TEXT[contract])
    for key, allowed in WORDS.get(contract, {}).items():
        value = adata.uns[key]
        texts &= isinstance(value, str) and value != "" and (allowed is None or value in allowed)
    return texts and adata.var_names.is_unique and (contract == "predictions" or adata.obs_names.is_unique)


def _text(column) -> bool:
    return bool(pd.Series(column.astype(object)).map(lambda value: isinstance(value, str)).all())


def _numbers(column, kinds: str) -> bool:
    return isinstance(column.dtype, np.dtype) and column.dtype.kind in kinds


def _flag(obs) -> bool:
    if obs["is_control"].dtype != bool:
        return False
    return bool(((obs["perturbation"].astype(str) == "control") == obs["is_control"]).all())


def _mode_and_dose(obs) -> bool:
    return _numbers(obs["mode"], "iu") and obs["mode"].between(0, 8).all() and _numbers(obs["dose"], "fiu")


def _screen(adata) -> bool:
    obs, var, x = adata.obs, adata.var, adata.X
    totals = obs["total_counts"]
    good = _flag(obs) and 0 < obs["is_control"].sum() < len(obs) and _mode_and_dose(obs)
    good &= _numbers(totals, "fiu") and bool((np.isfinite(totals) & (totals > 0)).all())
    good &= _text(var["gene_id"]) and _text(var["symbol"]) and var["measured"].dtype == bool
    good &= "guide" not in obs or _text(obs["guide"])
    good &= isinstance(json.loads(adata.uns["alignment"]), dict)
    for key in ("filters", "target_genes"):
        good &= key not in adata.uns or isinstance(json.loads(adata.uns[key]), dict)
    good &= "datasets" not in adata.uns or all(isinstance(name, str) for name in list(adata.uns["datasets"]))
    good &= x.format == "csr" and bool(np.isfinite(x.data).all() and (x.data > 0).all())
    good &= bool((x.data == np.round(x.data)).all())
    rows = [x.indices[a:b] for a, b in zip(x.indptr[:-1], x.indptr[1:], strict=True)]
    good &= all((np.diff(row) > 0).all() for row in rows)
    return good and _groups(adata.uns["groups"], obs)


def _groups(groups, obs) -> bool:
    if not all(_numbers(groups[column], "iu") for column in ("start", "stop")):
        return False
    at, seen = 0, set()
    for row in groups.itertuples():
        key = (row.cell_line, row.perturbation, row.batch)
        inside = obs.iloc[at : row.stop]
        same = all((inside[name].astype(str) == str(value)).all() for name, value in zip(_KEYS, key, strict=True))
        if row.start != at or row.stop <= at or key in seen or not same:
            return False
        at = row.stop
        seen.add(key)
    return at == len(obs)


_KEYS = ("cell_line", "perturbation", "batch")


def _matrix(x, low: float | None) -> bool:
    values = x.data if hasattr(x, "indptr") else np.asarray(x)
    layout = not hasattr(x, "format") or x.format == "csr"
    return (
        layout
        and values.dtype.kind in "fiu"
        and bool(np.isfinite(values).all())
        and (low is None or bool((values >= low).all()))
    )


def _predictions(adata) -> bool:
    obs = adata.obs
    good = _matrix(adata.X, 0) and _flag(obs)
    good &= adata.uns.get("role", "model") in ("model", "baseline", "reference")
    good &= all(_matrix(adata.layers[name], 0) for name in ("sd", "sd_epistemic") if name in adata.layers)
    good &= "supported" not in obs or obs["supported"].dtype == bool
    good &= "interval_basis" not in obs or _text(obs["interval_basis"])
    lines = obs["cell_line"].astype(str)
    good &= set(lines) == set(lines[obs["is_control"]])
    if adata.uns["unit"] == "profile":
        good &= not obs[["cell_line", "perturbation"]].astype(str).duplicated().any()
    if "interval_levels" in adata.uns:
        levels = np.asarray(adata.uns["interval_levels"], float)
        good &= (
            levels.ndim == 1
            and levels.size > 0
            and bool(((levels > 0) & (levels < 1)).all() and (np.diff(levels) > 0).all())
        )
    if "interval_width" in adata.obsm:
        width = adata.obsm["interval_width"]
        good &= "sd" in adata.layers and width.shape == (len(obs), len(adata.uns["interval_levels"]))
        good &= bool((width >= 0).all() and (width[:, 1:] >= width[:, :-1]).all())
    return good


def _features(adata) -> bool:
    encoder = json.loads(adata.uns["encoder"])
    good = isinstance(encoder, dict) and {"id", "revision", "pooling", "dtype", "dim", "licence"} <= set(encoder)
    good &= _dense(adata.X) and adata.obs["missing"].dtype == bool and "kind" in adata.obs
    good &= set(adata.obs["kind"]) <= {"gene", "guide", "protein", "compound"}
    good &= "note" not in adata.obs or _text(adata.obs["note"])
    return good and encoder["dim"] == adata.n_vars and not adata.X[adata.obs["missing"].to_numpy()].any()


def _effects(adata) -> bool:
    obs = adata.obs
    good = _matrix(adata.X, None) and isinstance(adata.X, np.ndarray) and _mode_and_dose(obs)
    known = obs["n_cells"].dropna()
    good &= _numbers(obs["n_cells"], "fiu") and bool((known >= 0).all() and (known == np.round(known)).all())
    good &= "is_control" not in obs or _flag(obs)
    good &= all(_text(adata.var[name]) for name in ("gene_id", "symbol") if name in adata.var)
    good &= "batch" not in obs or _text(obs["batch"])
    good &= "supported" not in obs or obs["supported"].dtype == bool
    good &= "target_genes" not in adata.uns or isinstance(json.loads(adata.uns["target_genes"]), dict)
    good &= adata.uns.get("role", "model") in ("model", "baseline", "reference")
    good &= isinstance(adata.uns.get("model", "-"), str) and adata.uns.get("model", "-") != ""
    good &= "se" not in adata.layers or (isinstance(adata.layers["se"], np.ndarray) and _matrix(adata.layers["se"], 0))
    keys = [name for name in _KEYS if name in obs]
    good &= not obs[keys].astype(str).duplicated().any()
    masks = [adata.layers["measured"]] if "measured" in adata.layers else []
    masks += [np.tile(adata.var["measured"].to_numpy(), (len(obs), 1))] if "measured" in adata.var else []
    return good and len(masks) < 2 and all(mask.dtype == bool and not adata.X[~mask].any() for mask in masks)


def _dense(x) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == np.float32 and bool(np.isfinite(x).all())


def _latents(adata) -> bool:
    good = _dense(adata.X) and set(adata.obs["kind"]) <= {"cell", "condition", "gene", "action"}
    return good and ("cell_line" not in adata.obs or _text(adata.obs["cell_line"]))
