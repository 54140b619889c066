"""One function per tool, each run in the environment of its peer by `loader.py`; prints a JSON report.

Only numpy is imported at the top: nothing else is in every environment.
"""

import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BATCH = 1024
"""Cells in a batch; paired: half of them controls."""
SET = 64
WARM_UP_S = 0.3
PACKAGES = {
    "cell-load": ["cell-load", "numba"],
    "annbatch": ["annbatch[zarrs,torch]", "numba"],
    "cellstream": ["cellstream", "numba"],
    "scdataset": ["scDataset", "anndata", "numba"],
    "hf": ["datasets", "h5py", "numba"],
}


@dataclass(frozen=True)
class Tool:
    environment: str | None
    """Peer whose environment runs it; None for ours."""
    work: str
    bounded: bool
    """Counts as a shuffled, unpaired loader of bounded memory."""
    prepare: Callable[[Path], None]
    batches: Callable[[Path, dict], Iterator[int]]
    """Yields the number of cells in each batch that it brought; may add to the report."""


def nothing(folder: Path) -> None:
    """No copy of the atlas is needed."""


def make_fused():
    """One compiled pass from CSR to dense log1p CP10k, into memory that is used again; the same for all peers."""
    from numba import njit

    @njit(nogil=True)
    def fill(indptr, indices, values, out):
        table = np.zeros(32, np.float32)
        for row in range(len(indptr) - 1):
            total = 0.0
            for j in range(indptr[row], indptr[row + 1]):
                total += values[j]
            scale = np.float32(10_000 / total)
            for count in range(1, 32):
                table[count] = np.log1p(np.float32(count) * scale)
            out[row, :] = 0
            for j in range(indptr[row], indptr[row + 1]):
                count = int(values[j])
                out[row, indices[j]] = table[count] if count < 32 else np.log1p(np.float32(count) * scale)

    return fill


def prepare_ours(folder: Path) -> None:
    from vc_data.loader import pack_screen

    pack_screen(folder / "atlas.zarr")


def ours(folder: Path, report: dict, read_threads: int | None = None) -> Iterator[int]:
    import numba  # noqa: F401
    import tensorstore  # noqa: F401
    from vc_data.loader import Loader

    opened = time.perf_counter()
    loader = Loader.open([folder / "atlas.zarr"], set_size=SET, batch_size=BATCH // 2 // SET, read_threads=read_threads)
    brought = real = 0
    for batch in loader:
        n = 2 * int(batch["mask"].sum())
        brought, real = brought + 2 * batch["mask"].size, real + n
        report.setdefault("open_s", time.perf_counter() - opened)
        report["padding"] = 1 - real / brought
        yield n


def ours_one_thread(folder: Path, report: dict) -> Iterator[int]:
    return ours(folder, report, read_threads=1)


def limit(folder: Path, report: dict, n_threads: int = 1) -> Iterator[int]:
    """CSR in memory, in row order, to dense by the pass that the peers use: nothing is read, nothing is drawn."""
    from vc_data.screen.file import read_screen

    counts = read_screen(folder / "atlas.zarr").X[: 16 * BATCH].copy()
    fused = make_fused()

    def densify(rows: range, out: np.ndarray) -> None:
        fused(counts.indptr[rows.start : rows.stop + 1], counts.indices, counts.data, out)

    return densify_in_turn(densify, counts.shape[1], n_threads)


def limit_threads(folder: Path, report: dict) -> Iterator[int]:
    from vc_data.loader.ahead import default_threads

    return limit(folder, report, default_threads())


def own_pass(folder: Path, report: dict) -> Iterator[int]:
    """The same of our packed rows in memory by our own pass, with the threads of our default."""
    from vc_data.loader import kernel
    from vc_data.loader.ahead import default_threads
    from vc_data.loader.packed import load_packed, packed_path

    screen = load_packed(packed_path(folder / "atlas.zarr"), folder / "atlas.zarr")
    codes = screen.finish(screen.read(0, 16 * BATCH))
    scales = kernel.TARGET_SUM / screen.total

    def densify(rows: range, out: np.ndarray) -> None:
        starts, stops = screen.offsets[rows.start : rows.stop], screen.offsets[rows.start + 1 : rows.stop + 1]
        kernel.fill_dense(out, np.arange(len(rows)), codes, starts, stops, scales[rows.start : rows.stop])

    return densify_in_turn(densify, len(screen.genes), default_threads())


def densify_in_turn(densify, n_genes: int, n_threads: int) -> Iterator[int]:
    """Batches of 16 x 1,024 rows, over and over, each cut into one piece per thread, into memory that is used again."""
    from concurrent.futures import ThreadPoolExecutor

    out = np.empty((BATCH, n_genes), np.float32)
    edges = np.linspace(0, BATCH, n_threads + 1).astype(int)
    pool = ThreadPoolExecutor(n_threads)
    for batch in itertools.cycle(range(16)):
        pieces = [(range(batch * BATCH + a, batch * BATCH + b), out[a:b]) for a, b in itertools.pairwise(edges)]
        list(pool.map(densify, *zip(*pieces, strict=True)))
        yield BATCH


def prepare_annbatch(folder: Path) -> None:
    import anndata
    import zarr
    from annbatch import DatasetCollection, write_sharded

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    if not (folder / "annbatch").exists():
        rng = np.random.default_rng(0)
        DatasetCollection(folder / "annbatch").add_adatas([folder / "atlas.h5ad"], rng=rng)
    if not (folder / "annbatch-grouped.zarr").exists():
        adata = anndata.read_zarr(folder / "atlas.zarr")
        adata.uns = {}
        write_sharded(zarr.open_group(folder / "annbatch-grouped.zarr", mode="w"), adata)


def annbatch(folder: Path, report: dict) -> Iterator[int]:
    import zarr
    from annbatch import DatasetCollection, Loader

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    fused, out = make_fused(), None
    while True:
        loader = Loader(
            batch_size=BATCH, chunk_size=256, preload_nchunks=32, shuffle=True, drop_last=True, preload_to_gpu=False
        )
        for batch in loader.use_collection(DatasetCollection(folder / "annbatch")):
            x = batch["X"]
            out = np.empty(x.shape, np.float32) if out is None else out
            fused(x.indptr, x.indices, x.data, out)
            yield x.shape[0]


def annbatch_paired(folder: Path, report: dict) -> Iterator[int]:
    """annbatch on a store grouped by condition; a sampler of ours asks for sets and matched controls by row."""
    import anndata
    import zarr
    from annbatch import Loader
    from annbatch.abc import Sampler

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    group = zarr.open_group(folder / "annbatch-grouped.zarr", mode="r")
    obs = anndata.io.read_elem(group["obs"])
    sets, controls_of = make_pairing(obs)
    rng = np.random.default_rng(0)
    per_request = 16

    class Pairs(Sampler):
        batch_size, shuffle = BATCH, False

        def n_batches(self, n_obs):
            return len(sets) // (BATCH // 2 // SET)

        def validate(self, n_obs):
            pass

        def _sample(self, n_obs):
            order = rng.permutation(len(sets))
            step = per_request * BATCH // 2 // SET
            for start in range(0, len(order) - step + 1, step):
                cells = np.concatenate([sets[i] for i in order[start : start + step]])
                rows = np.stack(
                    [cells.reshape(-1, BATCH // 2), controls_of(cells, rng).reshape(-1, BATCH // 2)], axis=1
                )
                unique, place = np.unique(rows.reshape(-1), return_inverse=True)
                yield {"requests": unique, "splits": list(place.reshape(-1, BATCH))}

    fused, out = make_fused(), None
    while True:
        loader = Loader(batch_sampler=Pairs(), preload_to_gpu=False)
        loader.add_dataset(anndata.io.sparse_dataset(group["X"]))
        for batch in loader:
            x = batch["X"]
            out = np.empty(x.shape, np.float32) if out is None else out
            fused(x.indptr, x.indices, x.data, out)
            yield x.shape[0]


def make_pairing(obs):
    """Whole sets of 64 random rows of a condition, and a function from rows to rows of matched controls."""
    line, batch = (obs[name].astype(str).to_numpy() for name in ("cell_line", "batch"))
    perturbation = obs["perturbation"].astype(str).to_numpy()
    rng = np.random.default_rng(0)
    by_condition: dict = {}
    for row, key in enumerate(zip(line, perturbation, strict=True)):
        by_condition.setdefault(key, []).append(row)
    sets, pools = [], {}
    for (_, name), rows in by_condition.items():
        if name == "control":
            for row in rows:
                pools.setdefault((line[row], batch[row]), []).append(row)
            continue
        shuffled = rng.permutation(rows)
        sets += list(shuffled[: len(rows) // SET * SET].reshape(-1, SET))
    if not sets:
        raise SystemExit(f"no condition has {SET} cells; take fewer perturbations or more cells")
    pools = {key: np.array(rows) for key, rows in pools.items()}

    def controls_of(cells, rng):
        return np.array([rng.choice(pools[line[row], batch[row]]) for row in cells])

    return sets, controls_of


def prepare_cellstream(folder: Path) -> None:
    import cellstream

    if not (folder / "atlas.csad").exists():
        cellstream.write_sharded(
            str(folder / "atlas.h5ad"), str(folder / "atlas.csad"), layout="cell", group_by="perturbation"
        )


def cellstream_cells(folder: Path, report: dict, n_threads: int = 1) -> Iterator[int]:
    import cellstream

    store = cellstream.open(str(folder / "atlas.csad"))
    fused, rng = make_fused(), np.random.default_rng(0)
    out = np.empty((BATCH, store.n_vars), np.float32)
    while True:
        order = rng.permutation(store.n_obs)
        for start in range(0, len(order) - BATCH + 1, BATCH):
            x = store.gather_rows(order[start : start + BATCH], n_threads=n_threads)
            fused(x.indptr, x.indices, x.data, out)
            yield BATCH


def cellstream_threads(folder: Path, report: dict) -> Iterator[int]:
    return cellstream_cells(folder, report, n_threads=min(os.cpu_count() or 1, 4))


def prepare_hf(folder: Path) -> None:
    import h5py
    from datasets import Dataset, Features, List, Value

    if (folder / "hf").exists():
        return
    features = Features({"genes": List(Value("uint16")), "counts": List(Value("uint8"))})

    def rows():
        with h5py.File(folder / "atlas.h5ad") as file:
            indptr = file["X/indptr"][:]
            for start in range(0, len(indptr) - 1, 1024):
                stop = min(start + 1024, len(indptr) - 1)
                genes, counts = (file[f"X/{name}"][indptr[start] : indptr[stop]] for name in ("indices", "data"))
                ends = indptr[start : stop + 1] - indptr[start]
                for a, b in itertools.pairwise(ends):
                    yield {"genes": genes[a:b].astype(np.uint16), "counts": counts[a:b].astype(np.uint8)}

    Dataset.from_generator(rows, features=features, cache_dir=str(folder / "hf-cache")).save_to_disk(str(folder / "hf"))
    shutil.rmtree(folder / "hf-cache")


def hf(folder: Path, report: dict) -> Iterator[int]:
    import h5py
    from datasets import load_from_disk

    with h5py.File(folder / "atlas.h5ad") as file:
        g = int(file["X"].attrs["shape"][1])
    data = load_from_disk(str(folder / "hf")).with_format("arrow")
    fused, rng = make_fused(), np.random.default_rng(0)
    out = np.empty((BATCH, g), np.float32)
    while True:
        order = rng.permutation(len(data))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            table = data[order[start : start + BATCH]]
            genes, counts = (table[name].combine_chunks() for name in ("genes", "counts"))
            genes, counts = (column.chunk(0) if hasattr(column, "chunk") else column for column in (genes, counts))
            indptr = genes.offsets.to_numpy()
            fused(indptr, genes.values.to_numpy(), counts.values.to_numpy(), out)
            yield BATCH


def scdataset(folder: Path, report: dict) -> Iterator[int]:
    import anndata
    from scdataset import BlockShuffling, scDataset

    adata = anndata.read_h5ad(folder / "atlas.h5ad", backed="r")
    fused = make_fused()
    out = np.empty((BATCH, adata.n_vars), np.float32)
    settings = {
        "batch_size": BATCH,
        "fetch_factor": 16,
        "drop_last": True,
        "fetch_callback": lambda data, rows: data.X[rows],
    }
    while True:
        data = scDataset(adata, BlockShuffling(block_size=64), **settings)
        for x in data:
            x = x.tocsr() if hasattr(x, "tocsr") else x
            fused(x.indptr, x.indices, x.data, out)
            yield x.shape[0]


def prepare_cell_load(folder: Path) -> None:
    import h5py

    target = folder / "cell-load" / "atlas.h5ad"
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        import anndata

        adata = anndata.read_h5ad(folder / "atlas.h5ad")
        adata.obs = adata.obs.rename(columns={"perturbation": "gene", "cell_line": "cell_type", "batch": "gem_group"})
        adata.write_h5ad(target)
        with h5py.File(target) as file:
            assert file["X/data"].compression is None
    toml = f'[datasets]\natlas = "{target.parent}"\n\n[training]\natlas = "train"\n\n[zeroshot]\n\n[fewshot]\n'
    (folder / "cell-load" / "config.toml").write_text(toml)


def cell_load(folder: Path, report: dict) -> Iterator[int]:
    """Tuned: uncompressed file, large chunk cache, controls of the same batch, no control sentences, no workers."""
    import logging

    from cell_load.data_modules.perturbation_dataloader import PerturbationDataModule

    logging.disable(logging.INFO)
    module = PerturbationDataModule(
        toml_config_path=str(folder / "cell-load" / "config.toml"),
        batch_size=BATCH // 2 // SET,
        num_workers=0,
        pert_col="gene",
        batch_col="gem_group",
        cell_type_key="cell_type",
        control_pert="control",
        embed_key=None,
        output_space="all",
        basal_mapping_strategy="batch",
        cell_sentence_len=SET,
        should_yield_control_cells=False,
        is_log1p=False,
        h5_open_kwargs={"rdcc_nbytes": 256 << 20, "rdcc_nslots": 1_000_003, "rdcc_w0": 0.75},
    )
    module.setup()
    while True:
        for batch in module.train_dataloader():
            yield batch["pert_cell_emb"].shape[0] + batch["ctrl_cell_emb"].shape[0]


TOOLS = {
    "ours": Tool(None, "paired sets", False, prepare_ours, ours),
    "ours-1-thread": Tool(None, "paired sets", False, prepare_ours, ours_one_thread),
    "limit": Tool(None, "densify only, in memory", False, nothing, limit),
    "limit-threads": Tool(None, "densify only, in memory, our default of threads", False, nothing, limit_threads),
    "own-pass": Tool(None, "our own pass only, in memory, our default of threads", False, prepare_ours, own_pass),
    "cell-load": Tool("cell-load", "paired sets", False, prepare_cell_load, cell_load),
    "annbatch-paired": Tool("annbatch", "paired sets", False, prepare_annbatch, annbatch_paired),
    "annbatch": Tool("annbatch", "shuffled cells", True, prepare_annbatch, annbatch),
    "cellstream": Tool("cellstream", "shuffled cells", True, prepare_cellstream, cellstream_cells),
    "cellstream-threads": Tool("cellstream", "shuffled cells", True, prepare_cellstream, cellstream_threads),
    "hf": Tool("hf", "shuffled cells", True, prepare_hf, hf),
    "scdataset": Tool("scdataset", "shuffled cells", True, nothing, scdataset),
}


def main(name: str, verb: str, folder: str, seconds: str) -> None:
    tool, report = TOOLS[name], {}
    if verb == "first":
        next(tool.batches(Path(folder), report))
        print(json.dumps(report | {"peak_gib": round(memory_gib("VmHWM"), 2)}), flush=True)
        return
    if verb == "prepare":
        tool.prepare(Path(folder))
        print(json.dumps(report), flush=True)
        return
    if verb == "epoch":
        print(json.dumps(epoch_memory(Path(folder))), flush=True)
        return
    started = time.perf_counter()
    batches = tool.batches(Path(folder), report)
    next(batches)
    report["first_batch_s"] = time.perf_counter() - started
    measure(batches, float(seconds))
    print(json.dumps(report), flush=True)
    for _ in sys.stdin:
        # What was read ahead while the others had their turn is not counted.
        measure(batches, WARM_UP_S)
        speed, cpu_us = measure(batches, float(seconds))
        memory = {"now_gib": round(memory_gib("VmRSS"), 2), "peak_gib": round(memory_gib("VmHWM"), 2)}
        print(json.dumps({"cells_per_s": speed, "cpu_us": cpu_us, **memory, **report}), flush=True)


def epoch_memory(folder: Path) -> dict:
    """One whole epoch of ours: cells brought, and resident memory after each tenth of it."""
    from vc_data.loader import Loader

    loader = Loader.open([folder / "atlas.zarr"], set_size=SET, batch_size=BATCH // 2 // SET, epochs=1)
    cells, gib = 0, []
    for step, batch in enumerate(loader, start=1):
        cells += 2 * int(batch["mask"].sum())
        if step * 10 // len(loader) > len(gib):
            gib.append(round(memory_gib("VmRSS"), 2))
    return {"cells": cells, "gib": gib}


def measure(batches: Iterator[int], seconds: float) -> tuple[float, float]:
    """Cells a second, and CPU time of all threads of this process per cell in us."""
    started, cpu, n = time.perf_counter(), time.process_time(), 0
    while (took := time.perf_counter() - started) < seconds:
        n += next(batches)
    return n / took, (time.process_time() - cpu) / n * 1e6


def memory_gib(field: str) -> float:
    """Resident memory of this process: `VmRSS` at the moment, `VmHWM` at its height (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 2**20
    return float("nan")


if __name__ == "__main__":
    main(*sys.argv[1:])
