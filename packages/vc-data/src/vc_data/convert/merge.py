"""Several screens become one, on one panel: which data set measured what is kept, and nothing is mixed that is not one.

The panel is a list, or the union or the intersection of the screens' measured genes. Genes meet by Ensembl id, then by
symbol, then through the tables, by the rules of `genes.py`. A column is zero-filled for the cells of data sets that did not
measure it; `varm["measured"]` says which, and `var["measured"]` is true only where all did.

A cell line that several data sets have becomes one context per data set, `LINE_DATASET`, because its controls, its medium
and often the kind of perturbation differ; batches take the data set's name in front.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from vc_contracts.store import open_store

from vc_data.contract import check_target, sha256_tree
from vc_data.convert.counts import Spool, merge_columns
from vc_data.convert.source import Matrix
from vc_data.errors import ContractError, GeneError, OutputError, TooFewError, few
from vc_data.genes.align import GeneAlignment, align_genes
from vc_data.genes.tables import read_panel
from vc_data.options import MergeOptions
from vc_data.screen.part import open_part
from vc_data.split.targets import TargetTable, read_targets, target_keys


@dataclass(frozen=True)
class MergeReport:
    """What a merge did."""

    path: Path
    n_cells: int
    n_genes: int
    measured: dict[str, int]
    """Data set -> measured genes of the panel."""
    statements: list[str]
    """Every rule that was used."""

    def lines(self) -> list[str]:
        """The report for people."""
        return [*self.statements, f"{self.n_cells} cells x {self.n_genes} genes of {len(self.measured)} data sets"]


@dataclass(frozen=True)
class Member:
    """One screen, its tables in memory and its counts on disk."""

    path: Path
    obs: Any
    var: Any
    matrix: Matrix
    measured: dict[str, np.ndarray]
    """Data set -> [g] bool."""
    targets: TargetTable


def merge_screens(
    paths: Sequence[str | Path], out_path: str | Path, options: MergeOptions | None = None
) -> MergeReport:
    """Merge screens into one.

    Args:
        paths: Two screens or more (.zarr or .h5ad).
        out_path: The screen to write; appears whole or not at all.
        options: How.

    Raises:
        ContractError: An input breaks screen-v1.
        LeakError: Two screens hold cells of one study.
        GeneError: No common genes, or a panel that nothing reaches.
        OutputError: The target exists or its name does not end in `.zarr`.
    """
    from vc_data.screen.file import write_screen
    from vc_data.split.leakage import check_cells, check_studies

    options = options or MergeOptions()
    paths, out_path = (
        [Path(path) for path in paths],
        check_target(out_path, kind="screen", overwrite=options.overwrite, inputs=paths),
    )
    if out_path.suffix != ".zarr":
        raise OutputError(out_path, "output", "a name that ends in .zarr", repr(out_path.name), "Choose such a name.")
    if len(paths) < 2:
        raise TooFewError("merge", "screens", "two or more", len(paths), "Pass SCREEN SCREEN ... OUT.zarr.")
    with contextlib.ExitStack() as stack:
        members = [stack.enter_context(open_member(path)) for path in paths]
        check_studies([(member.path.name, list(member.measured)) for member in members])
        check_cells([(member.path.name, member.obs) for member in members])
        statements: list[str] = []
        var, alignments = common_panel(members, options, statements)
        measured = {
            key: np.bincount(a.target[own & (a.target >= 0)], minlength=len(var)) > 0
            for member, a in zip(members, alignments, strict=True)
            for key, own in member.measured.items()
        }
        var["measured"] = np.logical_and.reduce(list(measured.values()))
        obs = join_cells(members, options, statements)
        parents = {path.name: sha256_tree(path) for path in paths}
        with open_part(out_path, {"parents": parents, "config": _config(options)}) as part:
            spools = _spool(members, part)
            targets = [alignment.target for alignment in alignments]
            rows = _gather(members, spools, targets, len(var))
            write_screen(
                obs,
                var,
                rows,
                out_path,
                alignment={
                    "panel": Path(options.panel).name,
                    "datasets": {key: int(own.sum()) for key, own in measured.items()},
                    "screens": {m.path.name: a.to_json() for m, a in zip(members, alignments, strict=True)},
                },
                parents=parents,
                config=_config(options),
                seed=options.seed,
                max_count=max(_max_count(s, t, len(var)) for s, t in zip(spools, targets, strict=True)),
                overwrite=options.overwrite,
                measured=measured,
                part=part,
                target_genes=_join_records(members),
            )
    return MergeReport(out_path, len(obs), len(var), {k: int(v.sum()) for k, v in measured.items()}, statements)


def _spool(members: Sequence[Member], part: Path) -> list[Spool]:
    """Counts of every screen in the work folder."""
    spools = []
    for i, member in enumerate(members):
        spool = Spool(part / f"spool{i}", *member.matrix.shape)
        spool.fill(member.matrix, obs_names=member.obs.index, var_names=member.var.index)
        spools.append(spool)
    return spools


def _gather(
    members: Sequence[Member], spools: Sequence[Spool], targets: Sequence[np.ndarray], n_genes: int
) -> Callable[[np.ndarray], Any]:
    """A function that gives rows of all screens, one screen after the other, on the panel."""
    import scipy.sparse as sp

    which = np.repeat(np.arange(len(members)), [len(member.obs) for member in members])
    place = np.concatenate([np.arange(len(member.obs)) for member in members])

    def rows(order: np.ndarray) -> Any:
        blocks, back = [], []
        for i, spool in enumerate(spools):
            mine = np.flatnonzero(which[order] == i)
            if len(mine):
                blocks.append(merge_columns(spool.rows(place[order[mine]]), targets[i], n_genes))
                back.append(mine)
        return sp.csr_matrix(sp.vstack(blocks, format="csr")[np.argsort(np.concatenate(back))])

    return rows


@contextlib.contextmanager
def open_member(path: Path) -> Iterator[Member]:
    """Open a screen: tables are read and checked, counts stay on disk.

    Raises:
        ContractError: It breaks screen-v1.
    """
    import anndata

    from vc_data.screen.file import check_tables

    read_elem: Callable[[Any], Any] = anndata.io.read_elem
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open_store(path))
            obs, var = read_elem(file["obs"]), read_elem(file["var"])
            uns = {key: read_elem(file[f"uns/{key}"]) for key in file["uns"]}
            varm = read_elem(file["varm/measured"]) if "datasets" in uns else None
            node = file["X"]
            matrix = Matrix(
                path, "X", node, str(node.attrs["encoding-type"]).removesuffix("_matrix"), (len(obs), len(var))
            )
        except Exception as error:
            # zarr, h5py and anndata each raise their own kinds for what is no such file.
            do = "Write the screen with 'vc-data convert'."
            raise ContractError(path, "file", "a screen", f"{type(error).__name__}: {error}", do) from error
        check_tables(obs, var, uns, path)
        if varm is not None:
            measured = {str(key): np.asarray(varm)[:, i].astype(bool) for i, key in enumerate(uns["datasets"])}
        else:
            own = var["measured"].to_numpy()
            measured = {str(key): own for key in obs["dataset"].astype(str).unique()}
        perturbed = obs["target"].astype(str)[~obs["is_control"].to_numpy()].unique()
        yield Member(path, obs, var, matrix, measured, read_targets(perturbed, var, uns.get("target_genes")))


def common_panel(members: Sequence[Member], options: MergeOptions, statements: list[str]):
    """The var table of the panel, and how each screen's genes reach it.

    Raises:
        GeneError: An intersection without genes, or a panel that a screen does not reach.
    """
    tables = {"gene_table": options.gene_table, "aliases": options.aliases}
    if options.panel in ("union", "intersection"):
        panel, ids = _union(members, tables)
    else:
        panel = read_panel(Path(options.panel))
        ids = None
    alignments = [_align(member, panel, ids, tables) for member in members]
    if options.panel == "intersection" and ids is not None:
        shared = np.logical_and.reduce([alignment.measured for alignment in alignments])
        if not shared.any():
            do = "Pass --gene-table and --aliases to join ids and symbols, or --panel union."
            raise GeneError("merge", "genes", "some that all screens measure", "none", do)
        panel = [name for name, keep in zip(panel, shared, strict=True) if keep]
        ids = [name for name, keep in zip(ids, shared, strict=True) if keep]
        alignments = [_align(member, panel, ids, tables) for member in members]
    gene_ids = [""] * len(panel)
    symbols = list(panel)
    for member, alignment in zip(members, alignments, strict=True):
        for row, target in enumerate(alignment.target.tolist()):
            if target >= 0:
                gene_ids[target] = gene_ids[target] or str(member.var["gene_id"].iloc[row])
                if symbols[target] == gene_ids[target]:
                    symbols[target] = str(member.var["symbol"].iloc[row])
    for member, alignment in zip(members, alignments, strict=True):
        first, *rest = alignment.lines()
        statements += [f"{member.path.name}: {first}", *(f"  {line}" for line in rest)]
    statements.insert(0, f"panel: {options.panel}, {len(alignments[0].panel)} genes")
    table = {"gene_id": gene_ids, "symbol": [s if s not in gene_ids else "" for s in symbols]}
    return pd.DataFrame(table, index=alignments[0].panel), alignments


def _union(members: Sequence[Member], tables: dict) -> tuple[list[str], list[str]]:
    """Names and ids of the genes of all screens, in order of appearance; genes that meet by any rule are one."""
    panel: list[str] = []
    ids: list[str] = []
    for member in members:
        names, gene_ids, own = _names(member)
        how = np.full(len(names), -1)
        if panel:
            try:
                alignment = align_genes(names, panel, gene_ids=gene_ids, panel_ids=ids, **tables)
                how = np.where([h == "not in panel" for h in alignment.how], -1, 0)
            except GeneError:
                how[:] = -1
        taken = set(panel)
        for name, gene_id, index, at, measured in zip(names, gene_ids, member.var.index, how, own, strict=True):
            if at < 0 and measured:
                chosen = next(
                    (option for option in (name, gene_id, str(index)) if option and option not in taken), None
                )
                if chosen is not None:
                    taken.add(chosen)
                    panel.append(chosen)
                    ids.append(gene_id)
    return panel, ids


def _names(member: Member) -> tuple[list[str], list[str], np.ndarray]:
    symbol, index = member.var["symbol"].astype(str), member.var.index.astype(str)
    shared = Counter(symbol)
    names = [s if s and shared[s] == 1 else i for s, i in zip(symbol, index, strict=True)]
    own = np.logical_or.reduce(list(member.measured.values()))
    return names, member.var["gene_id"].astype(str).tolist(), own


def _align(member: Member, panel: list[str], ids: list[str] | None, tables: dict) -> GeneAlignment:
    names, gene_ids, own = _names(member)
    alignment = align_genes(names, panel, gene_ids=gene_ids, panel_ids=ids, **tables)
    # Columns that the screen itself zero-filled measure nothing.
    target = np.where(own, alignment.target, -1)
    how = [h if keep else "not in panel" for h, keep in zip(alignment.how, own, strict=True)]
    return GeneAlignment(alignment.panel, alignment.names, target, how, alignment.panel_ids)


def join_cells(members: Sequence[Member], options: MergeOptions, statements: list[str]):
    """The obs table of all cells, with contexts, batches and names that keep data sets apart."""
    tables = []
    for member, keys in zip(members, target_keys([member.targets for member in members]), strict=True):
        table = _rename_targets(member.obs.copy(), keys)
        changed = {name: key for name, key in keys.items() if name != key}
        if changed:
            name, key = next(iter(changed.items()))
            statements.append(
                f"{member.path.name}: targets took another screen's name: {len(changed)} ({name!r} is {key!r})"
            )
        for column in table.columns:
            if isinstance(table[column].dtype, pd.CategoricalDtype):
                table[column] = table[column].astype(str)
        tables.append(table)
    obs = pd.concat(tables)
    if "guide" in obs:
        obs["guide"] = obs["guide"].astype(object).where(obs["guide"].notna(), "")
    dataset = obs["dataset"].astype(str)
    obs["batch"] = dataset + ":" + obs["batch"].astype(str)
    statements.append("batches are named DATASET:BATCH")
    line = obs["cell_line"].astype(str)
    owners = pd.DataFrame({"line": line.to_numpy(), "dataset": dataset.to_numpy()}).drop_duplicates()
    shared = sorted(name for name, n in Counter(owners["line"]).items() if n > 1)
    if shared and not options.join_lines:
        obs["cell_line"] = line.where(~line.isin(shared), line + "_" + dataset)
        statements.append(
            f"cell lines of several data sets became LINE_DATASET: {few(shared)} (--join-lines keeps them one)"
        )
    if not obs.index.is_unique:
        n = int(obs.index.duplicated().sum())
        obs.index = (dataset + ":" + obs.index.astype(str)).to_numpy()
        statements.append(f"cell names became DATASET:NAME, because {n} were in several screens")
    return obs


def _rename_targets(obs: pd.DataFrame, keys: dict[str, str]) -> pd.DataFrame:
    """Obs with every target by the name that the screens share for it, in labels too."""
    target, label = obs["target"].astype(str), obs["perturbation"].astype(str)
    new = {
        old: "+".join(sorted({keys.get(part, part) for part in old.split("+")})) for old in target.unique()
    }  # fmt: skip
    shared = target.map(new)
    carries = [text.removeprefix(old) for text, old in zip(label, target, strict=True)]
    obs["target"] = shared
    obs["perturbation"] = [
        name + rest if text.startswith(old) else text
        for text, old, name, rest in zip(label, target, shared, carries, strict=True)
    ]
    return obs


def _join_records(members: Sequence[Member]) -> dict:
    """`uns["target_genes"]` of the merged screen."""
    links: dict[str, dict] = {}
    for member, keys in zip(members, target_keys([member.targets for member in members]), strict=True):
        for name, key in keys.items():
            link = dict(member.targets.links.get(name, {"gene_id": "", "symbol": "", "how": ""}))
            known = links.setdefault(key, link)
            links[key] = {**link, **{field: value for field, value in known.items() if value}}
    compounds = all(member.targets.compounds for member in members)
    return {"kind": "compound", "targets": {}} if compounds else {"kind": "gene", "targets": links}


def _max_count(spool: Spool, target: np.ndarray, n_columns: int) -> int:
    kept = target >= 0
    return int(np.bincount(target[kept], weights=spool.max_g[kept], minlength=n_columns).max(initial=0))


def _config(options: MergeOptions) -> dict:
    config = {key: value.name if isinstance(value, Path) else value for key, value in asdict(options).items()}
    return config | {"panel": Path(options.panel).name}
