"""Time the loader on a bucket beside the same loader on the local disk, and print the ratio.

    python bench/buckets.py                          # the atlas of bench/loader.py; some 3 minutes on 2 cores
    python bench/buckets.py --cells 16000 --perturbations 20 --rounds 3    # a quick look
    AWS_ENDPOINT_URL=... python bench/buckets.py --bucket s3://BUCKET/bench     # a server of your own

Without --bucket, moto serves the bucket on 127.0.0.1, in a process of its own that shares the cores with the loader. The
loaders run in processes of their own, are started, then take turns of a few seconds; ratios are medians over rounds.
`bucket` brings each file of the packed copy to the local disk when it is first needed (an empty cache at the start);
`in place` is what it does where that disk is too small. Exits with 1 where `bucket` is slower than half of the local disk.
"""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro
from loader import Settings as Atlas
from loader import make_atlas
from loader_peers import memory_gib

TARGET = 0.5
KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1"}
SERVER = """
import logging, time
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
time.sleep(1 << 20)
"""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Time the loader on a bucket beside the local disk."""

    cells: int = 120_000
    """Cells of the atlas."""
    perturbations: int = 150
    """Perturbations, in each cell line."""
    seconds: float = 3.0
    """Length of one slice."""
    rounds: int = 7
    """Slices of each."""
    bucket: str | None = None
    """Where to put the atlas; default: a server that is started here."""
    work: Path = Path("/tmp/loader-bench")
    """Folder for the atlas."""


def main(settings: Settings) -> None:
    atlas = Atlas(cells=settings.cells, perturbations=settings.perturbations, work=settings.work)
    name = f"{atlas.cells}x{atlas.genes}x{atlas.density}-{atlas.perturbations}"
    local = settings.work / name / "atlas.zarr"
    local.parent.mkdir(parents=True, exist_ok=True)
    make_atlas(local, atlas)
    with contextlib.ExitStack() as stack:
        there = settings.bucket or stack.enter_context(serve())
        os.environ["VC_BUCKET_CACHE"] = str(settings.work / "cache")
        shutil.rmtree(settings.work / "cache", ignore_errors=True)
        put(local, f"{there}/{name}.zarr")
        sides = {"local disk": [str(local)], "bucket": [f"{there}/{name}.zarr"]}
        sides["in place"] = [*sides["bucket"], "in-place"]
        running = {side: stack.enter_context(Side(path)) for side, path in sides.items()}
        running["local disk"].ask(0.5)  # its process compiles
        rounds = [
            {side: process.ask(settings.seconds) for side, process in running.items()} for _ in range(settings.rounds)
        ]
    sys.exit(0 if print_table(rounds) else 1)


def put(local: Path, there: str) -> None:
    from vc_contracts.bucket.local import upload
    from vc_data.loader.pack import pack_screen

    start = time.perf_counter()
    upload(local, there, overwrite=True)
    upload(pack_screen(local), f"{there}.packed", overwrite=True)
    stamp(there)
    print(f"put there in {time.perf_counter() - start:.1f} s", file=sys.stderr)


def stamp(there: str) -> None:
    """Say that the packed copy agrees with the screen, whose objects have other tags than the files had."""
    from vc_data.loader.packed import find_fault

    assert find_fault(Path(there), Path(f"{there}.packed")) is None


@contextlib.contextmanager
def serve() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
    os.environ |= {**KEYS, "AWS_ENDPOINT_URL": url}
    urllib.request.urlopen(urllib.request.Request(f"{url}/bench", method="PUT")).close()
    try:
        yield "s3://bench"
    finally:
        process.kill()
        process.wait()


class Side:
    """A loader in a process of its own, which works when asked."""

    def __init__(self, arguments: list[str]):
        command = [sys.executable, __file__, "--side", *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, seconds: float) -> dict:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(f"{seconds}\n")
        stdin.flush()
        return json.loads(stdout.readline())


def side(path: str, *how: str) -> None:
    """The process of one side: cells/s, memory and first batch, once per line that is read."""
    import vc_contracts.bucket.lazy
    from vc_data.loader.pipeline import Loader

    if how:
        vc_contracts.bucket.lazy.SPARE = 1 << 60  # as if the disk were full
    start = time.perf_counter()
    loader = Loader.open([path], set_size=64, batch_size=8)
    next(loader)
    first = time.perf_counter() - start
    for line in sys.stdin:
        begin, n = time.perf_counter(), 0
        while (now := time.perf_counter()) - begin < float(line):
            n += 2 * int(next(loader)["mask"].sum())
        print(json.dumps({"rate": n / (now - begin), "peak": memory_gib("VmHWM"), "first": first}), flush=True)


def print_table(rounds: list[dict]) -> bool:
    print("| loader on | cells/s | first batch s | peak GiB, first to last round |\n|---|---|---|---|")
    for name in rounds[0]:
        rate = statistics.median(r[name]["rate"] for r in rounds)
        peaks = [r[name]["peak"] for r in rounds]
        print(f"| {name} | {rate:,.0f} | {rounds[0][name]['first']:.1f} | {peaks[0]:.2f} to {peaks[-1]:.2f} |")
    print()
    medians = {}
    for name in ("bucket", "in place"):
        ratios = [r[name]["rate"] / r["local disk"]["rate"] for r in rounds]
        medians[name] = statistics.median(ratios)
        told = f"first round {ratios[0]:.2f}, all {min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{name} : local disk {medians[name]:.2f} ({told})")
    print(f"target of bucket : local disk >= {TARGET}")
    return medians["bucket"] >= TARGET


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        side(*sys.argv[2:])
    else:
        main(tyro.cli(Settings))
