"""Every command that writes, in an order in which each finds its inputs; and a process that runs them in copies of itself."""

import atexit
import contextlib
import importlib
import io
import mmap
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

MAIN = {
    script.name: f"{script.value.partition(':')[0]}:main"
    for script in entry_points(group="console_scripts")
    if script.name.split("-")[0] == "vc"
}


@dataclass(frozen=True)
class Step:
    """One command."""

    line: str
    writes: tuple[str, ...]
    cheap: bool = True
    """Takes about a second."""
    keeps: tuple[str, ...] = ()
    """Work that stays where there is no room for more, because the same command goes on from it."""

    def __str__(self) -> str:
        return " ".join(self.line.split()[:3])


STEPS = (
    Step("vc-data simulate demo --preset tiny --seed 0", ("demo",)),
    Step("vc-data convert demo/screen.h5ad a.zarr --cell-line-name A", ("a.zarr",)),
    Step("vc-data convert demo/screen.h5ad b.zarr --dataset other --min-cells 5", ("b.zarr",), cheap=False),
    Step("vc-data split a.zarr split.json --min-cells 5", ("split.json",)),
    Step("vc-data convert-effects effects.csv effects.zarr --values z --cell-line-name A", ("effects.zarr",)),
    Step("vc-data variable a.zarr split.json panel.txt --n-top 20", ("panel.txt",)),
    Step("vc-data genes demo/screen.h5ad panel.txt --output genes.json", ("genes.json",)),
    Step("vc-featurize geneset demo/pathways.gmt --out bank.zarr --dim 4", ("bank.zarr",)),
    Step("vc-featurize table table.csv --out table.h5ad", ("table.h5ad",)),
    Step("vc-featurize graph edges.tsv --out graph.zarr --dim 2", ("graph.zarr",)),
    Step("vc-interp enrich latents.zarr --genesets sets.gmt --out enriched.tsv --min-size 1", ("enriched.tsv",)),
    Step("vc-eval baseline --real cells.h5ad --out base.h5ad", ("base.h5ad",)),
    Step("vc-eval prep --rule vcc2025 --pred cells.h5ad --genes cells.txt --out cells.vcc --expected-genes -1", ("cells.vcc",)),
    Step("vc-eval cells --real cells.h5ad --pred base.h5ad --out scored --no-controls --n-boot 20 --quiet", ("scored",)),
    Step("vc-eval score --user scored/agg_results.csv --base scored/agg_results.csv --out score.csv", ("score.csv",)),
    Step("vc-eval report scored --out page.html", ("page.html",)),
    Step("vc-model fit a.zarr split.json ridge --model mean_effect", ("ridge",), cheap=False),
    Step("vc-model predict ridge a.zarr split.json predicted.zarr", ("predicted.zarr",), cheap=False),
    Step("vc-model predict ridge a.zarr split.json drawn.h5ad --cells 3", ("drawn.h5ad",), cheap=False,
         keeps=(".drawn.h5ad.parts",)),
    Step("vc fit a.zarr --split split.json --model mean_effect -o fitted", ("fitted",), cheap=False),
    Step("vc predict fitted --all-genes -o answers --force", ("answers",), cheap=False),
    Step("vc support fitted --out support.tsv", ("support.tsv",), cheap=False),
    Step("vc plot heatmap predicted.zarr -o map.svg", ("map.svg",), cheap=False),
    Step("vc-eval split --screen a.zarr --splits split.json --pred predicted.zarr --out split-scores --n-boot 20 --n-ceiling 2"
         " --n-ceiling-des 1 --quiet", ("split-scores",), cheap=False),
    Step("vc-eval compare split-scores split-scores --models mean_effect no_change --out compared.csv", ("compared.csv",),
         cheap=False),
    Step("vc submit a.zarr split.json predicted.zarr -o sent.vcc --cells 3 --no-score --no-official",
         ("sent.vcc", "sent.receipt.json"), cheap=False),
    Step("vc discover next --scores scores.csv --library genes.txt --features demo/pathways.gmt --batch 2 -o next", ("next",),
         cheap=False),
    Step("vc train st a.zarr split.json -o st --steps 4 --per-condition 8", ("st", "st.train"), cheap=False,
         keeps=("st.train",)),
    Step("vc quickstart --preset tiny --bootstrap 100 --repeats 1 --out quick", ("quick",), cheap=False),
)  # fmt: skip


def make_inputs(folder: Path) -> None:
    """What no command makes: a table of vectors, an edge list, cells, latents."""
    import anndata
    import numpy as np
    import pandas as pd
    from make_corpus import ANNDATA_BASES
    from vc_contracts.writing import write

    rng = np.random.default_rng(0)
    names = [f"G{n:03d}" for n in range(12)]
    pd.DataFrame(rng.normal(size=(12, 3)), index=names).to_csv(folder / "table.csv")
    pd.DataFrame(rng.normal(size=(12, 12)), columns=names).assign(perturbation=names).to_csv(
        folder / "effects.csv", index=False
    )
    edges = pd.DataFrame({"source": names, "target": [*names[1:], names[0]]})
    edges.to_csv(folder / "edges.tsv", sep="\t", index=False)
    (folder / "genes.txt").write_text("\n".join(names) + "\n")
    pd.DataFrame({"target_gene": names[:6], "score": rng.normal(size=6)}).to_csv(folder / "scores.csv", index=False)
    labels = np.repeat(["non-targeting", *names[:4]], 12)
    obs = pd.DataFrame({"target_gene": labels}, index=[f"c{n}" for n in range(len(labels))])
    cells = anndata.AnnData(
        rng.poisson(5, (len(labels), 12)).astype(np.float32), obs=obs, var=pd.DataFrame(index=names)
    )
    cells.write_h5ad(folder / "cells.h5ad")
    (folder / "cells.txt").write_text("\n".join(names) + "\n")
    (folder / "sets.gmt").write_text("S1\t-\tG1\tG2\nS2\t-\tG2\tAAK1\n")
    write(folder / "latents.zarr", ANNDATA_BASES["latents"](), "latents")


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    code: int
    """Exit code; negative: the signal."""
    said: str
    events: int = 0
    """File events that were seen."""


def run(
    line: str, folder: Path, *, kill_at: int = 0, limits: dict[int, int] | None = None, home: str | None = None
) -> Outcome:
    """Run a command in a copy of this process.

    Args:
        line: Program and arguments.
        folder: Where it runs.
        kill_at: Number of the file event (a file opened for writing, made, renamed, removed) at which it is killed; 0: never.
        limits: Resource (`resource.RLIMIT_...`) -> its limit; of memory, what is added to what is in use.
        home: The home folder, if not that of this process.
    """
    counter = mmap.mmap(-1, 8)
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with contextlib.suppress(BaseException):
            _be(line, folder, writing, _watch(str(folder), counter, kill_at), limits or {}, home)
        os._exit(70)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        said = stream.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    return Outcome(os.waitstatus_to_exitcode(status), said, int.from_bytes(counter[:8], "little"))


def _be(line: str, folder: Path, stream: int, watch: Callable, limits: dict[int, int], home: str | None) -> None:
    """Run the command as this process and leave."""
    from vc_contracts.command import own_process

    atexit._clear()  # what the first process wants done at its end is not for this one
    own_process()
    os.chdir(folder)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", 0), write_through=True)
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", 0), write_through=True)
    if home is not None:
        os.environ["HOME"] = home
    sys.addaudithook(watch)
    for kind, limit in limits.items():
        used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096 if kind == resource.RLIMIT_AS else 0
        resource.setrlimit(kind, (limit + used, limit + used))
    program, *words = line.split()
    module, _, name = MAIN[program].partition(":")
    code: object = 0
    try:
        code = getattr(importlib.import_module(module), name)(words)
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
        code = 71
    _leave(int(code or 0))


def _leave(code: int) -> None:
    """As at the end of a program: handlers first."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)


def _watch(folder: str, counter: mmap.mmap, kill_at: int) -> Callable:
    """An audit hook that counts file events below a folder, and kills at one of them."""
    seen = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal seen
        if event == "open":
            flags = arguments[2] if isinstance(arguments[2], int) else 0
            if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event not in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"):
            return
        place = arguments[0]
        place = place.decode(errors="replace") if isinstance(place, bytes) else str(place)
        if place.startswith("/") and not place.startswith(folder):
            return
        seen += 1
        counter[:8] = seen.to_bytes(8, "little")
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook
