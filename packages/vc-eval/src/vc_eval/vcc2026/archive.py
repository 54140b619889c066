"""The archive that the 2026 challenge takes: checked, reduced raw counts, compressed, in a tar (docs/metrics.md#vcc2026).

`meta.json` comes first, so that a reader learns the shape without unpacking, then `pred.h5ad.zst`. There is no watermark any
more; an archive that has one is read all the same. The archive of the same input has the same bytes.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
import scipy.sparse
from vc_contracts.text import lists

from vc_eval.cells.archive import unpack_cells, write_members
from vc_eval.errors import ContractError
from vc_eval.vcc2026.submission import SubmissionRules, require_submission

if TYPE_CHECKING:
    import anndata

MEMBERS = ("meta.json", "pred.h5ad.zst")
SCHEMA = 1  # of meta.json
MANIFEST = "manifest.json"  # beside the challenge's list of perturbations
MAX_META_BYTES = 64 * 1024
REMEDY = "Write it with `vc-eval prep --rule vcc2026`."


def read_rules(
    genes: str | Path, perturbations: str | Path, *, contexts: tuple[str, ...] = (), cells_per_perturbation: int = 400,
    pert_col: str = "target_gene", context_col: str = "context", celltype_col: str | None = None,
) -> tuple[SubmissionRules, str | None]:  # fmt: skip
    """What a phase asks for, from the files of the challenge, and the name of its panel if the manifest says it.

    Args:
        genes: CSV, one column, with or without a header `gene_name`, `gene` or `gene_id`.
        perturbations: CSV with a column `target_gene`; a column `n_cells` gives cells of each, `context` the context it
            belongs to (without, every context has all).
        contexts: Names; by default those of `manifest.json` beside the list, else those of its column `context`.
        cells_per_perturbation: Where the list has no `n_cells`.
        pert_col: Column of the prediction's `obs`.
        context_col: Column of the prediction's `obs`.
        celltype_col: Column of the prediction's `obs` to keep, if any.

    Raises:
        ContractError: If a file, a column or the contexts are missing.
    """
    try:
        names = lists.read_names(genes)
    except lists.ListError as error:
        raise ContractError(
            genes, "file", "a list of genes", error.parts[3], "Pass the challenge's gene list."
        ) from None
    remedy = "Pass the challenge's list of perturbations, a CSV with a column target_gene."
    header, *rows = _rows(perturbations, remedy) or [[]]
    if "target_gene" not in header:
        raise ContractError(perturbations, "header", "a column 'target_gene'", repr(header), remedy)
    column = {name: header.index(name) for name in ("target_gene", "n_cells", "context") if name in header}
    panel, listed = _manifest(Path(perturbations))
    own = list(dict.fromkeys(row[column["context"]] for row in rows)) if "context" in column else []
    contexts = contexts or tuple(listed) or tuple(own)
    if not contexts:
        raise ContractError(
            perturbations,
            "contexts",
            f"a column 'context' or {MANIFEST} beside it",
            "neither",
            "Name them: --contexts A B C.",
        )
    wanted: dict[str, dict[str, int]] = {context: {} for context in contexts}
    try:
        for row in rows:
            cells = lists.whole_number(row[column["n_cells"]]) if "n_cells" in column else cells_per_perturbation
            name = row[column["target_gene"]]
            for context in [row[column["context"]]] if "context" in column else contexts:
                if context in wanted and wanted[context].setdefault(name, cells) != cells:
                    raise ValueError(f"{name!r} twice, with {wanted[context][name]} and {cells} cells")
    except (ValueError, IndexError) as error:
        raise ContractError(perturbations, "rows", "a name and a whole number of cells", str(error), remedy) from None
    rules = SubmissionRules(
        genes=names, perturbations=wanted, cells_per_perturbation=cells_per_perturbation, pert_col=pert_col,
        context_col=context_col, celltype_col=celltype_col,
    )  # fmt: skip
    return rules, panel if set(listed) == set(contexts) else None


def fingerprint(perturbations: Iterable[str]) -> str:
    """sha256 of the sorted names, which names the list and not how its file is written."""
    return "sha256:" + hashlib.sha256("\n".join(sorted(set(perturbations))).encode()).hexdigest()


def write_archive(
    path: str | Path,
    adata: "anndata.AnnData",
    rules: SubmissionRules,
    *,
    panel_id: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Check a prediction and write it: X, the columns of labels, the names of genes, nothing else; what meta.json says.

    Args:
        path: The .vcc to write.
        adata: Raw counts `[n, g]` of all contexts, without control cells.
        rules: Of the phase.
        panel_id: Name of the panel, if known.
        overwrite: Replace an earlier archive.

    Raises:
        SubmissionError: With every rule that is broken; nothing is written then.
    """
    import anndata
    import pandas as pd

    require_submission(adata, rules)
    matrix = cast("scipy.sparse.csr_matrix", scipy.sparse.csr_matrix(adata.X).astype(np.float32))
    matrix.sum_duplicates()
    if list(adata.var_names) != list(rules.genes):
        matrix = cast("scipy.sparse.csr_matrix", matrix[:, adata.var_names.get_indexer(pd.Index(rules.genes))])
    columns = [rules.pert_col, rules.context_col, *([rules.celltype_col] if rules.celltype_col else [])]
    obs = pd.DataFrame(
        {name: adata.obs[name].astype(str).to_numpy() for name in columns}, index=np.arange(adata.n_obs).astype(str)
    )
    cells = anndata.AnnData(matrix, obs=obs, var=pd.DataFrame(index=pd.Index(list(rules.genes), dtype=object)))
    names = {name for context in rules.perturbations for name in rules.cells(context)}
    meta = {
        "schema": SCHEMA, "nnz": int(matrix.nnz), "n_obs": cells.n_obs, "n_vars": cells.n_vars,
        "cli_version": f"vc-eval {version('vc-eval')}", "contexts": sorted(rules.perturbations),
        "perts_fingerprint": fingerprint(names),
    } | ({"panel_id": panel_id} if panel_id else {})  # fmt: skip
    write_members(path, {MEMBERS[0]: json.dumps(meta, sort_keys=True).encode(), MEMBERS[1]: cells}, overwrite=overwrite)
    return meta


def _member(tar: tarfile.TarFile, name: str, path: str | Path) -> IO[bytes]:
    """A member that is a file."""
    try:
        member = tar.extractfile(name)
    except (KeyError, tarfile.TarError, RecursionError) as error:
        raise ContractError(path, "members", name, str(error), REMEDY) from None
    if member is None:
        raise ContractError(path, name, "a file", "a link or a folder", REMEDY)
    return member


def read_meta(path: str | Path) -> dict[str, Any]:
    """What meta.json of an archive says, without unpacking the prediction; empty for an archive that has none.

    Raises:
        ContractError: If the file is no archive, or holds no prediction.
    """
    with _open(path) as tar:
        names = tar.getnames()
        if MEMBERS[1] not in names or tar.getmember(MEMBERS[1]).size == 0:
            raise ContractError(path, "members", MEMBERS[1], ", ".join(names) or "none", REMEDY)
        if MEMBERS[0] not in names or tar.getmember(MEMBERS[0]).size > MAX_META_BYTES:
            return {}
        try:
            found = json.loads(_member(tar, MEMBERS[0], path).read())
        except (ValueError, RecursionError) as error:
            raise ContractError(path, MEMBERS[0], "JSON", str(error), REMEDY) from None
    return found if isinstance(found, dict) else {}


def read_archive(path: str | Path) -> "tuple[anndata.AnnData, dict[str, Any]]":
    """The prediction of an archive and what its meta.json says.

    Raises:
        ContractError: If it is damaged, or meta.json says another shape than the prediction has.
    """
    meta = read_meta(path)
    with _open(path) as tar:
        cells = unpack_cells(path, _member(tar, MEMBERS[1], path))
    said = {name: meta[name] for name in ("n_obs", "n_vars", "nnz") if name in meta}
    held = {"n_obs": cells.n_obs, "n_vars": cells.n_vars, "nnz": int(scipy.sparse.csr_matrix(cells.X).nnz)}
    apart = [name for name, value in said.items() if value != held[name]]
    if apart:
        raise ContractError(path, apart[0], str(said[apart[0]]), str(held[apart[0]]), REMEDY)
    return cells, meta


def _open(path: str | Path) -> tarfile.TarFile:
    tar = None
    try:
        tar = tarfile.open(path, "r:")  # noqa: SIM115 - handed on
        tar.getmembers()  # a file cut short shows here
        return tar
    except (OSError, tarfile.TarError) as error:
        if tar is not None:
            tar.close()
        raise ContractError(path, "file", "an uncompressed tar", str(error).splitlines()[0], REMEDY) from None


def _rows(path: str | Path, remedy: str) -> list[list[str]]:
    try:
        rows = lists.read_rows(path)
    except lists.ListError as error:
        raise ContractError(path, "file", "a CSV", error.parts[3], remedy) from None
    if not rows:
        raise ContractError(path, "file", "a CSV", "an empty file", remedy)
    return rows


def _manifest(perturbations: Path) -> tuple[str | None, list[str]]:
    """(panel, contexts) of the manifest beside the list of perturbations; (None, []) without one."""
    try:
        found = json.loads((perturbations.parent / MANIFEST).read_text(encoding="utf-8"))
        contexts = [str(name) for name in found["contexts"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None, []
    return found.get("panel_id"), contexts
