"""Damages valid files and asks every reader, each in a process with limits; counts what became of it.

    python tests/fuzz/harness.py --mutations 5000 --seed 1

A mutation is one of: bytes (flips, cuts, zeros), content (another value), hdf5 (external and soft links, loops, external
storage, virtual data sets, attributes), zarr (a lost chunk, links, pipes, declared sizes, values, types, codecs), json
(nesting, endless numbers, NaN, a key twice), text (NUL, markup, formulas, paths). What may come of it: refused with one message, or harmless (the content as it was).
"""

import argparse
import json
import multiprocessing
import os
import queue
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "contracts")]
SECRET = "the-secret-of-another-file"
READERS = {
    "screen": ("vc_data.screen.file:read_screen", "vc_model.contracts:read_screen", "vc_eval.contracts:read_screen"),
    "splits": ("vc_data.split:read_splits", "vc_eval.contracts:read_splits"),
    "features": ("vc_featurize.bank:read_features", "vc_model.contracts:read_features"),
    "predictions": ("vc_model.contracts:read_predictions", "vc_eval.contracts:read_predictions"),
    "effects": ("vc_contracts.reading:read_effects",),
    "latents": ("vc_interp.latents:read_latents",),
    "scores": ("vc_eval.contracts:read_scores",),
    "foreign": ("readers:convert_foreign", "readers:inspect_foreign", "readers:score_cells"),
    "table": ("readers:convert_table",),
    "archive": ("readers:read_archive",),
    "list": ("readers:read_list",),
    "checkpoint": ("readers:load_model",),
}
STATES_NOTHING = ("foreign", "table", "archive", "list")
"""Forms without hashes: another value in them is another file, and no damage that a reader could see."""
LIMIT_S, LIMIT_WALL_S, LIMIT_BYTES = 20, 200, 6 << 30
"""Seconds of the processor, seconds of the clock (other work may keep the machine busy), bytes."""

# Each reader runs in a copy of a small server that has imported all of them and has no other thread. A copy of this process
# would wait for ever for the locks of threads that it does not have.
CONTEXT = multiprocessing.get_context("forkserver")
MODULES = {reader.partition(":")[0] for readers in READERS.values() for reader in readers}
LIBRARIES = {"anndata", "h5py", "scipy.sparse", "zarr"}
"""What readers import when they are asked: each process would do that again, for longer than it reads."""
CONTEXT.set_forkserver_preload(sorted(MODULES | LIBRARIES))


def make_valid(folder: Path, *, models: bool) -> dict[str, list[Path]]:
    """A valid file of every contract and form, with hashes of its content; with `models`, also what is slower to read."""
    import vc_contracts
    from corpus.scores import scores
    from corpus.splits import splits
    from make_corpus import ANNDATA_BASES
    from vc_contracts.content import stamp_json
    from vc_eval.contracts import write_scores

    paths: dict[str, list[Path]] = {}
    for contract, base in ANNDATA_BASES.items():
        paths[contract] = [
            vc_contracts.write(folder / f"{contract}{suffix}", base(), contract) for suffix in (".zarr", ".h5ad")
        ]
    (folder / "splits.json").write_text(json.dumps(stamp_json(splits())))
    write_scores(folder / "scores", scores()[0], parents={}, config={}, summary={"best": "x"})
    if models:
        paths |= make_foreign(folder)
        paths["checkpoint"] = [make_checkpoint(folder)]
    return paths | {"splits": [folder / "splits.json"], "scores": [folder / "scores"]}


def make_foreign(folder: Path) -> dict[str, list[Path]]:
    """Files of other programs: cells with labels in both forms, an archive of them, a list."""
    import anndata
    import pandas as pd
    import scipy.sparse as sp
    from vc_eval.cells.archive import write_members

    rng = np.random.default_rng(0)
    names = [f"GENE{n}" for n in range(12)]
    labels = np.repeat(["non-targeting", *names[:4]], 12)
    obs = pd.DataFrame({"perturbation": labels, "cell_line": "A"}, index=[f"c{n}" for n in range(len(labels))])
    counts = sp.csr_matrix(rng.poisson(2, (len(labels), 12)).astype(np.float32))
    cells = anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=names))
    paths = [folder / "foreign.h5ad", folder / "foreign.zarr"]
    cells.write_h5ad(paths[0])
    cells.write_zarr(paths[1])
    meta = {"n_obs": cells.n_obs, "n_vars": cells.n_vars}
    write_members(folder / "cells.vcc", {"meta.json": json.dumps(meta).encode(), "pred.h5ad.zst": cells})
    (folder / "names.csv").write_text("gene_name\n" + "\n".join(names) + "\n")
    table = (
        cells.to_df()[names[:6]].iloc[:12].assign(perturbation=[*names[:4]] * 3, dose=np.repeat([0.1, 1.0, 10.0], 4))
    )
    tables = [folder / "table.csv", folder / "table.parquet"]
    table.to_csv(tables[0], index=False)
    table.to_parquet(tables[1], index=False)
    return {
        "foreign": paths,
        "table": [*tables, paths[0]],
        "archive": [folder / "cells.vcc"],
        "list": [folder / "names.csv"],
    }


def make_checkpoint(folder: Path) -> Path:
    """A fitted baseline."""
    from vc_model.checkpoint import save_checkpoint
    from vc_model.models import make_model
    from vc_model.testing import make_world

    table = make_world(seed=0).train
    save_checkpoint(folder / "checkpoint", make_model("mean_effect", 0).fit(table))
    return folder / "checkpoint"


def damage(path: Path, rng: np.random.Generator, secret: Path) -> str:
    """Change one thing of a copy; what was done."""
    from mutations import KINDS

    fitting = [kind for kind in KINDS if kind.fits(path)]
    chosen = fitting[int(rng.integers(len(fitting)))]
    return f"{chosen.name}: {chosen.apply(path, rng, secret)}"


def ask(reader: str, path: str, answers: "multiprocessing.Queue") -> None:
    """Read in a process of its own; the outcome in one word and a line."""
    import importlib
    import resource
    import warnings

    warnings.simplefilter("ignore")
    noise = os.memfd_create("stderr")
    os.dup2(noise, 2)
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S + 1))
    module, _, name = reader.partition(":")
    read = getattr(importlib.import_module(module), name)
    try:
        content = repr_of(read(path))  # what is read from the disk only now belongs to reading
    except ValueError as error:
        if b"HDF5-DIAG" in os.pread(noise, 1 << 20, 0):
            answers.put(("noise", f"HDF5's own report beside {type(error).__name__}"))
            return
        ours = any(kind.__name__ in ("Refusal", "ContractError") for kind in type(error).__mro__)
        answers.put(("refused" if ours else "traceback", f"{type(error).__name__}: {str(error)[:150]}"))
    except BaseException as error:
        answers.put(("traceback", f"{type(error).__name__}: {str(error)[:150]}"))
    else:
        answers.put(("read", content))


def repr_of(content: object) -> str:
    """A hash of what a reader gives back, and whether a secret is in it."""
    import hashlib
    import pickle

    if hasattr(content, "rows") and hasattr(content, "indptr_n"):  # a screen whose counts are on disk
        content = (content.obs, content.var, content.rows(0, len(content.obs)).toarray())
    elif hasattr(content, "X"):
        x = content.X.toarray() if hasattr(content.X, "toarray") else content.X
        content = (content.obs, content.var, x, sorted(map(str, content.uns)))
    blob = pickle.dumps(content)
    leak = "LEAK " if SECRET.encode() in blob else ""
    return leak + hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def run_one(reader: str, path: Path) -> tuple[str, str]:
    """The outcome of one reader on one file."""
    answers = CONTEXT.Queue()
    process = CONTEXT.Process(target=ask, args=(reader, str(path), answers), daemon=True)
    process.start()
    end = time.monotonic() + LIMIT_WALL_S
    while True:
        try:
            outcome = answers.get(timeout=0.5)
            break
        except queue.Empty:
            alive = process.is_alive()
            if alive and time.monotonic() < end:
                continue
        if not alive and not answers.empty():
            continue
        process.kill()
        process.join()
        slow = alive or process.exitcode == -signal.SIGXCPU
        return ("hang", "") if slow else ("crash", f"exit code {process.exitcode}")
    process.join(5)
    process.kill()
    return outcome


def fuzz(
    n: int, seed: int, say: bool = False, models: bool = False, minutes: float | None = None
) -> tuple[Counter, list[str]]:
    """Damage `n` files and ask a reader each, for so many minutes at most; with `models`, checkpoints too.

    Returns:
        Counts of outcomes, and a line for everything that may not be.
    """
    rng, counts, bad = np.random.default_rng(seed), Counter(), []
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        valid = make_valid(folder, models=models)
        secret = folder / "secret.h5ad"
        _write_secret(secret)
        sound = {reader: {p: run_one(reader, p) for p in valid[c]} for c in valid for reader in READERS[c]}
        unread = [
            f"{reader} on {p.name}: {out}" for reader, of in sound.items() for p, out in of.items() if out[0] != "read"
        ]
        if unread:
            return counts, [f"sound file not read: {line}" for line in unread]
        begin = time.monotonic()
        for number in range(n):
            if minutes is not None and time.monotonic() > begin + 60 * minutes:
                break
            contract = sorted(valid)[int(rng.integers(len(valid)))]
            source = valid[contract][int(rng.integers(len(valid[contract])))]
            reader = READERS[contract][int(rng.integers(len(READERS[contract])))]
            copy = folder / f"copy{source.suffix}"
            shutil.copytree(source, copy) if source.is_dir() else shutil.copyfile(source, copy)
            what = damage(copy, rng, secret)
            outcome, detail = run_one(reader, copy)
            if outcome == "read":
                same = detail == sound[reader][source][1] or contract in STATES_NOTHING
                outcome = "foreign read" if detail.startswith("LEAK") else "harmless" if same else "accepted damage"
            counts[outcome] += 1
            if outcome not in ("refused", "harmless"):
                bad.append(f"{number} {outcome}: {reader} on {source.name}: {what}: {detail}")
                if say:
                    print(bad[-1], flush=True)
            shutil.rmtree(copy) if copy.is_dir() else copy.unlink(missing_ok=True)
            if say and number % 50 == 49:
                print(f"{number + 1} of {n}, {time.monotonic() - begin:.0f} s: {dict(counts)}", file=sys.stderr)
    return counts, bad


def _write_secret(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["text"] = [SECRET] * 48
        file["numbers"] = np.full(48, 7.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="stop after so many minutes, with the counts of what was done")
    given = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    found, lines = fuzz(given.mutations, given.seed, say=True, models=True, minutes=given.minutes)
    if not found:  # a sound file was not read
        print("\n".join(lines))
    print(
        {
            name: found[name]
            for name in (
                "refused",
                "harmless",
                "noise",
                "traceback",
                "crash",
                "hang",
                "foreign read",
                "accepted damage",
            )
        }
    )
    sys.exit(1 if lines else 0)
