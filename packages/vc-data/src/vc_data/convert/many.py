"""Many files at once, in processes of this machine or on a Dask cluster: one executor interface, one code path."""

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from pathlib import Path

from vc_contracts.command import bring_back
from vc_contracts.progress import progress

from vc_data.convert.run import ConvertReport, convert
from vc_data.errors import OutputError, VcDataError, few
from vc_data.options import ConvertOptions


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    source: Path
    output: Path
    report: ConvertReport | None
    """None where the file was refused."""
    error: str = ""
    """The message, where it was refused."""


def convert_many(
    sources: Sequence[str | Path],
    out_dir: str | Path,
    options: ConvertOptions | None = None,
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
) -> list[Outcome]:
    """Convert several files, each into `out_dir/NAME.zarr`; one that is refused does not stop the others.

    Args:
        sources: The .h5ad files, with distinct names.
        out_dir: Where the screens go; made if need be.
        options: Of every conversion.
        jobs: Processes on this machine; default one per core, and never more than files. Each holds one block in memory.
        scheduler: Address of a Dask scheduler whose workers see the same paths; `jobs` then does not count.

    Returns:
        One outcome per file, in the order of `sources`.

    Raises:
        OutputError: Two files that would have one output.
        VcDataError: The Dask package is not installed, or nobody answers at the address.
    """
    paths = [Path(source).absolute() for source in sources]
    out_dir = Path(out_dir).absolute()
    outputs = [out_dir / f"{path.stem}.zarr" for path in paths]
    repeated = sorted({path.name for path in outputs if outputs.count(path) > 1})
    if repeated:
        raise OutputError(out_dir, "outputs", "distinct file names", few(repeated), "Rename one, or convert it apart.")
    out_dir.mkdir(parents=True, exist_ok=True)
    n_jobs = min(len(paths), jobs or len(os.sched_getaffinity(0)))
    outcomes: dict[Path, Outcome] = {}
    with _executor(scheduler, n_jobs) as executor:
        futures = [
            executor.submit(convert_one, path, output, options) for path, output in zip(paths, outputs, strict=True)
        ]
        for future in progress(as_completed(futures), total=len(futures), desc="converting", unit="file", leave=True):
            outcome = future.result()
            outcomes[outcome.source] = outcome
    return [outcomes[path] for path in paths]


def convert_one(source: Path, output: Path, options: ConvertOptions | None) -> Outcome:
    """Convert one file, without progress bars; a refusal is part of the outcome, so that it travels between processes."""
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            return Outcome(source, output, convert(source, output, options))
        except (VcDataError, OutputError, OSError) as error:
            return Outcome(source, output, None, str(error))


@contextlib.contextmanager
def _executor(scheduler: str | None, n_jobs: int) -> Iterator[Executor]:
    if scheduler is None:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        # A fresh interpreter per process: forking one that has threads (zarr, BLAS) can hang.
        with ProcessPoolExecutor(n_jobs, mp_context=get_context("spawn")) as executor:
            yield executor
        return
    bring_back("dask")
    try:
        from distributed import Client
    except ImportError:
        do = "Install it: uv add 'vc-data[cluster]'."
        raise VcDataError("--scheduler", "cluster", "the package dask.distributed", "nothing", do) from None
    try:
        client = Client(scheduler, timeout=20)
    except (OSError, TimeoutError, ValueError) as error:
        do = "Start one with 'dask scheduler', or leave --scheduler out."
        raise VcDataError("--scheduler", "address", "a Dask scheduler", f"{scheduler} ({error})", do) from error
    with client, client.get_executor(pure=False) as executor:
        yield executor
