"""BioJEPA on one GPU in bfloat16, beside the torch twin of its tests: the table of throughput, and what limits it.

    PYTHONPATH=packages/vc-model/src python3 bench/biojepa_gpu.py --out biojepa_gpu.json
    PYTHONPATH=packages/vc-model/src python3 bench/biojepa_gpu.py --out tiny.json --tiny      # a dry run on a CPU

Ours and the twin run in processes of their own, one after the other. A rate is cells over the median of at least five
steps after two warm-up steps; "of peak" divides by the rate of a bfloat16 product of two 8,192 x 8,192 matrices, measured
in the same process. Operations are counted from the published equations, whatever a program does beyond them. Memory is
what the compiled program needs (ours) or the most that was allocated (torch). Writes the JSON after every row; `--seconds`
is when no further row is begun. Needs jax, flax, optax, scipy, jaxtyping, numpy and torch, nothing else.
"""

import argparse
import gzip
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TWIN = ROOT / "packages/vc-model/tests/biojepa/torch_twin.py"
SLOTS = 2
# work, cells per step, rematerialised: the most telling rows first, for a run that is cut short.
OURS = [
    ("inference, concat", 32, False),
    ("inference, no concat", 32, False),
    ("pretrain step", 64, True),
    ("AC step", 32, True),
    ("AC step", 64, True),
    ("pretrain step", 128, True),
    ("pretrain step", 32, False),
    ("AC step", 16, False),
    ("inference, concat", 8, False),
    ("inference, concat", 64, False),
]
# work, compiled; batches are tried from large to small until one fits.
TORCH = [
    ("inference, concat", False),
    ("pretrain step", False),
    ("AC step", False),
    ("inference, concat", True),
    ("pretrain step", True),
    ("AC step", True),
]
TARGETS = {"inference, concat": 400, "inference, no concat": 600, "pretrain step": 250, "AC step": 140}
"""Cells per second that the specification (F3) asks of one H200."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="256 genes, width 64, 2 layers")
    parser.add_argument(
        "--seconds", type=float, default=340, help="begin no row after this; half goes to ours at least"
    )
    parser.add_argument("--tool", choices=["all", "jax", "torch"], default="all")
    parser.add_argument("--until", type=float, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tool != "all":
        {"jax": run_jax, "torch": run_torch}[options.tool](options)
        return
    begin = time.time()
    environment = os.environ | {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.92"}
    for tool, share in (("jax", 0.62), ("torch", 1.0)):
        arguments = [sys.executable, __file__, "--out", str(options.out.with_suffix(f".{tool}.json"))]
        arguments += ["--tool", tool, "--until", str(begin + share * options.seconds)] + ["--tiny"] * options.tiny
        if code := subprocess.run(arguments, env=environment, check=False).returncode:
            print(f"{tool}: ended with code {code}", flush=True)
    reports = [options.out.with_suffix(f".{tool}.json") for tool in ("jax", "torch")]
    report = {path.suffixes[-2][1:]: json.loads(path.read_text()) for path in reports if path.exists()}
    options.out.write_text(json.dumps(report, indent=1))
    print_tables(report)
    print(f"\n{time.time() - begin:.0f} s in all")


def make_config(options: argparse.Namespace, work: str, remat: bool = False):
    from vc_model.biojepa.config import BioJepaConfig

    faithful = work != "inference, no concat"
    changes = {"compute": "bfloat16", "remat": remat, "fusion_dropout": 0.0, "faithful": faithful}
    if options.tiny:
        return BioJepaConfig(n_genes=256, width=64, n_layers=2, **changes)
    return BioJepaConfig.v0_6(10_000, **changes)


def make_data(cfg, cells: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)

    def expression():
        x = rng.gamma(1, 1, (cells, cfg.n_genes)) * (rng.random((cells, cfg.n_genes)) > 0.6)
        return x.astype(np.float32)

    there = np.ones((cells, SLOTS), bool)
    return {
        "x": expression(),
        "x_control": expression(),
        "x_case": expression(),
        "total": rng.normal(8, 1, cells).astype(np.float32),
        "total_control": rng.normal(8, 1, cells).astype(np.float32),
        "total_case": rng.normal(8, 1, cells).astype(np.float32),
        "measured": np.ones(cfg.n_genes, bool),
        "masked": rng.random((cells, cfg.n_genes)) < cfg.mask_ratio,
        "seq_emb": rng.normal(size=(cells, SLOTS, cfg.seq_width)).astype(np.float32),
        "target_emb": rng.normal(size=(cells, SLOTS, cfg.target_width)).astype(np.float32),
        "modality": rng.integers(0, 3, (cells, SLOTS)).astype(np.int32),
        "mode": np.zeros((cells, SLOTS), np.int32),
        "has_seq": there,
        "has_target": there,
        "pert_mask": there,
        "dose": np.full((cells, SLOTS), -1, np.float32),
    }


def flops(cfg, work: str) -> float:
    """Floating point operations per cell of the published equations (F1); backward is twice forward."""
    d, f, g, k = cfg.width, cfg.hidden, cfg.n_genes, cfg.width // cfg.n_heads
    layer, layer_ac, embed = 10 * d * d + 4 * d * k + 6 * d * f, 14 * d * d + 6 * d * k + 6 * d * f, 6 * d * d
    encoder = g * (cfg.n_layers * layer + embed)
    maskpred = g * (cfg.n_mask_layers * layer + 2 * d * d)
    predictor = (2 if cfg.faithful else 1) * g * cfg.n_layers * layer_ac + g * 4 * d * d
    covariance = 8 * g * d * d  # of predicted latents with its backward pass, and of the teacher's
    return {
        "pretrain step": encoder + 3 * (encoder + maskpred) + covariance,
        "AC step": 2 * encoder + 3 * predictor + covariance,
    }.get(work, encoder + predictor)


def measure(run, *, least: int = 5, most: int = 20, seconds: float = 4.0) -> float:
    """Median seconds of a call that waits for its result, after two that are not counted."""
    run(), run()
    times: list[float] = []
    while len(times) < least or (len(times) < most and sum(times) < seconds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class Report:
    """Rows and facts, written after each."""

    def __init__(self, path: Path) -> None:
        self.path, self.content = path, {"rows": []}

    def fact(self, **facts) -> None:
        self.content |= facts
        self.path.write_text(json.dumps(self.content, indent=1))
        print(json.dumps(facts), flush=True)

    def row(self, **row) -> None:
        self.content["rows"].append(row)
        self.path.write_text(json.dumps(self.content, indent=1))
        print(json.dumps(row), flush=True)


def rate_of_row(cfg, work: str, cells: int, seconds: float, peak: float) -> dict:
    rate = cells / seconds
    achieved = rate * flops(cfg, work)
    return {"seconds": seconds, "cells_per_s": rate, "tflops": achieved / 1e12, "of_peak": achieved / peak}


# --- ours


def run_jax(options: argparse.Namespace) -> None:
    import jax

    report = Report(options.out)
    peak, bandwidth = ceilings(options)
    report.fact(device=jax.devices()[0].device_kind, jax=jax.__version__, peak_tflops=peak / 1e12)
    report.fact(bandwidth_tb_s=bandwidth / 1e12, balance_flop_per_byte=peak / bandwidth)
    for at, (work, cells, remat) in enumerate(OURS):
        cells = min(cells, 4) if options.tiny else cells
        if time.time() > options.until:
            report.row(tool="ours", work=work, cells=cells, skipped="out of time")
            continue
        cfg = make_config(options, work, remat)
        row = {"tool": "ours", "work": work, "cells": cells, "remat": remat}
        try:
            compiled, arguments, seconds = compile_ours(cfg, work, make_data(cfg, cells))
            row |= program_facts(compiled, cfg, work, cells) | {"compile_s": seconds}
            run = runner(compiled, arguments, donates="step" in work)
            report.row(**row, **rate_of_row(cfg, work, cells, measure(run), peak))
            if at < 4:
                report.fact(**{f"time by kind of kernel, {work}": shares(run)})
        except Exception as error:  # out of memory, most likely: the other rows are still wanted
            report.row(**row, failed=f"{type(error).__name__}: {str(error)[:200]}")
        compiled = arguments = run = None
        jax.clear_caches()
    if time.time() < options.until:
        ablate(options, report, peak)


def ceilings(options: argparse.Namespace) -> tuple[float, float]:
    """FLOP/s of a large bfloat16 product, and bytes/s (read and written) of a pass over memory."""
    import jax
    import jax.numpy as jnp

    size = 512 if options.tiny else 8192
    a, b = (jax.random.normal(jax.random.key(at), (size, size), jnp.bfloat16) for at in range(2))
    multiply, add = jax.jit(lambda a, b: a @ b), jax.jit(lambda u: u + 1)
    big = jax.random.normal(jax.random.key(2), (2**20 if options.tiny else 2**30,), jnp.bfloat16)
    peak = 2 * size**3 / measure(lambda: multiply(a, b).block_until_ready(), least=20, most=50)
    return peak, 2 * big.nbytes / measure(lambda: add(big).block_until_ready())


def compile_ours(cfg, work: str, data: dict[str, np.ndarray]):
    """A compiled program, its arguments (state first where it trains) and the seconds that compiling took."""
    import jax
    import jax.numpy as jnp
    import optax
    from vc_model.biojepa.composer import ACTION_KEYS
    from vc_model.biojepa.stages import bind, init_part, init_stage, make_loss

    batch = {key: jnp.asarray(value) for key, value in data.items() if key != "masked"}  # ours draws its own
    encoder = jax.tree.map(jnp.asarray, init_part("encoder", cfg, 0))
    if work.startswith("inference"):
        parts = {"encoder": encoder} | {part: init_part(part, cfg, 0) for part in ("composer", "predictor")}
        parts = jax.tree.map(jnp.asarray, parts)

        def program(p, batch):
            z = bind("encoder", cfg, p["encoder"])(batch["x"], batch["total"])
            tokens = bind("composer", cfg, p["composer"])({key: batch[key] for key in ACTION_KEYS})
            return bind("predictor", cfg, p["predictor"])(z, tokens, batch["pert_mask"])[0].astype(cfg.compute)

        arguments, donate = (parts, batch), ()
    else:
        stage = {"pretrain step": "pretrain", "AC step": "ac"}[work]
        loss = make_loss(stage, cfg)
        # A copy: the trained parameters are donated.
        teacher = jax.tree.map(jnp.copy, encoder)
        params, frozen = init_stage(stage, cfg, 0, {"encoder": encoder, "teacher": teacher})
        params = jax.tree.map(jnp.asarray, params)
        optimiser = optax.adamw(1e-4, weight_decay=0.05)

        def program(state, frozen, batch, key):
            params, moments = state
            (value, _), gradient = jax.value_and_grad(loss, has_aux=True)(params, frozen, batch, key, jnp.float32(0.5))
            updates, moments = optimiser.update(gradient, moments, params)
            return (optax.apply_updates(params, updates), moments), value

        arguments, donate = ((params, optimiser.init(params)), frozen, batch, jax.random.key(0)), (0,)
    start = time.perf_counter()
    compiled = jax.jit(program, donate_argnums=donate).lower(*arguments).compile()
    return compiled, arguments, time.perf_counter() - start


def runner(compiled, arguments, *, donates: bool):
    kept = [arguments[0]]

    def run():
        if donates:
            kept[0], value = compiled(kept[0], *arguments[1:])
            value.block_until_ready()
        else:
            compiled(*arguments).block_until_ready()

    return run


def program_facts(compiled, cfg, work: str, cells: int) -> dict:
    """Memory and XLA's own counts; the body of a loop over layers is counted once, so bytes are a lower bound."""
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
    facts = {}
    if memory is not None:
        total = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
        facts["memory_gib"] = (total - memory.alias_size_in_bytes) / 2**30
    return facts | {"xla_bytes": cost.get("bytes accessed"), "xla_flops": cost.get("flops")}


def kind_of(kernel: str) -> str:
    name = kernel.lower()
    for kind, marks in {
        "matrix product": ("gemm", "cutlass", "nvjet", "cublas", "xmma", "dot", "triton_gemm"),
        "copy and transpose": ("transpose", "copy", "concatenate", "memcpy", "memset", "slice"),
        "reduction": ("reduce", "norm"),
    }.items():
        if any(mark in name for mark in marks):
            return kind
    return "elementwise"


def shares(run) -> dict:
    """Share of device time of one step by kind of kernel, and the ten slowest kernels."""
    import jax

    try:
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                run()
            (path,) = Path(folder).rglob("*.trace.json.gz")
            events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
        names = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
        threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("name") == "thread_name"}
        time_of: Counter = Counter()
        for event in events:
            stream = threads.get((event.get("pid"), event.get("tid")), "")
            if event.get("ph") == "X" and "GPU" in names.get(event["pid"], "") and stream.startswith("Stream"):
                time_of[event["name"]] += event["dur"]
        total = sum(time_of.values())
        kinds: Counter = Counter()
        for name, value in time_of.items():
            kinds[kind_of(name)] += value / total
        slowest = {name[:80]: round(value / total, 4) for name, value in time_of.most_common(10)}
        return {"kinds": {name: round(value, 3) for name, value in kinds.items()}, "slowest": slowest}
    except Exception as error:  # a profile is welcome, not needed
        return {"failed": f"{type(error).__name__}: {str(error)[:200]}"}


def ablate(options: argparse.Namespace, report: Report, peak: float) -> None:
    """One layer of the encoder, forward, taken apart: time, XLA's bytes per token, and the rate."""
    import jax
    import jax.numpy as jnp
    from vc_model.biojepa.layers import rms_norm, self_attention, swiglu
    from vc_model.biojepa.stages import init_part

    cfg = make_config(options, "pretrain step")
    blocks = init_part("encoder", cfg, 0)["blocks"]
    p = {name: jnp.asarray(value[0]) for name, value in blocks.items()}
    cells = 4 if options.tiny else 32
    h = jax.random.normal(jax.random.key(0), (cells, cfg.n_genes, cfg.width), jnp.bfloat16)
    d, f, k = cfg.width, cfg.hidden, cfg.width // cfg.n_heads
    pieces = {
        "attention": (
            lambda p, h: h + self_attention(p, rms_norm(h, p["norm1_scale"]), cfg.n_heads),
            10 * d * d + 4 * d * k,
        ),
        "SwiGLU": (lambda p, h: h + swiglu(p, rms_norm(h, p["norm2_scale"])), 6 * d * f),
        "RMSNorm": (lambda p, h: rms_norm(h, p["norm1_scale"]), 4 * d),
    }
    out = {}
    for name, (function, work) in pieces.items():
        try:
            compiled = jax.jit(function).lower(p, h).compile()
            seconds = measure(lambda compiled=compiled: compiled(p, h).block_until_ready(), seconds=1.0)
        except Exception as error:
            out[name] = {"failed": f"{type(error).__name__}: {str(error)[:200]}"}
            continue
        tokens = cells * cfg.n_genes
        bytes_per_token = ((compiled.cost_analysis() or {}).get("bytes accessed") or 0) / tokens
        out[name] = {
            "ns_per_token": seconds / tokens * 1e9,
            "bytes_per_token": bytes_per_token,
            "flop_per_byte": work / bytes_per_token if bytes_per_token else None,
            "of_peak": work * tokens / seconds / peak,
            "tb_per_s": bytes_per_token * tokens / seconds / 1e12,
        }
    report.fact(one_layer_forward=out)


# --- the twin


def run_torch(options: argparse.Namespace) -> None:
    import torch

    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    torch.set_default_device(device)
    torch.set_float32_matmul_precision("high")
    wait = torch.cuda.synchronize if cuda else (lambda: None)
    report = Report(options.out)
    size = 512 if options.tiny else 8192
    square = torch.randn(size, size, dtype=torch.bfloat16)
    peak = 2 * size**3 / measure(lambda: (square @ square, wait()), least=20, most=50)
    report.fact(
        device=torch.cuda.get_device_name() if cuda else "cpu", torch=torch.__version__, peak_tflops=peak / 1e12
    )
    square = None
    for work, compiled in TORCH:
        cfg = make_config(options, work)
        tool = "torch compiled" if compiled else "torch eager"
        for cells in (2,) if options.tiny else (32, 16, 8) if work.startswith("inf") else (16, 8, 4):
            if time.time() > options.until:
                report.row(tool=tool, work=work, cells=cells, skipped="out of time")
                break
            try:
                start = time.perf_counter()
                run = make_torch(cfg, work, make_data(cfg, cells), device, compiled)
                run(), wait()
                first = time.perf_counter() - start
                if cuda:
                    torch.cuda.reset_peak_memory_stats()
                seconds = measure(lambda run=run: (run(), wait()))
                memory = torch.cuda.max_memory_allocated() / 2**30 if cuda else None
                row = {"tool": tool, "work": work, "cells": cells, "memory_gib": memory, "compile_s": first}
                report.row(**row, **rate_of_row(cfg, work, cells, seconds, peak))
                break
            except Exception as error:
                report.row(tool=tool, work=work, cells=cells, failed=f"{type(error).__name__}: {str(error)[:200]}")
            finally:
                run = None
                if cuda:
                    torch.cuda.empty_cache()


def make_torch(cfg, work: str, data: dict[str, np.ndarray], device: str, compiled: bool):
    """One call of this work by the twin under bfloat16 autocast; the action tokens are made beforehand."""
    import torch
    from vc_model.biojepa.stages import init_part

    spec = importlib.util.spec_from_file_location("torch_twin", TWIN)
    twin = importlib.util.module_from_spec(spec)
    sys.modules["torch_twin"] = twin  # torch.compile looks its functions' modules up
    spec.loader.exec_module(twin)

    def make(part):
        with torch.device("cpu"):
            module = twin.make(part, cfg, init_part(part, cfg, 0))
        return module.to(device)

    batch = {key: torch.from_numpy(value).to(device) for key, value in data.items()}
    encoder, predictor = make("encoder"), make("predictor")
    with torch.no_grad():
        tokens = make("composer")(batch)
    if work == "pretrain step":
        teacher, maskpred = make("encoder"), make("maskpred")
        trained = [*encoder.parameters(), *maskpred.parameters()]

        def loss():
            return twin.pretrain_loss(cfg, encoder, maskpred, teacher, batch, batch["masked"])
    else:
        teacher, trained = make("encoder"), [*predictor.parameters()]

        def loss():
            return twin.ac_loss(cfg, predictor, lambda _: tokens, encoder, teacher, batch, batch["masked"])

    def forward():
        return predictor(encoder(batch["x"], batch["total"]), tokens)[0]

    loss, forward = (torch.compile(loss), torch.compile(forward)) if compiled else (loss, forward)
    optimiser = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.05)
    autocast = torch.autocast(device, torch.bfloat16)

    def train():
        optimiser.zero_grad(set_to_none=True)
        with autocast:
            value = loss()
        value.backward()
        optimiser.step()

    def infer():
        with torch.no_grad(), autocast:
            forward()

    return train if "step" in work else infer


def print_tables(report: dict) -> None:
    for tool in report.values():
        print({key: value for key, value in tool.items() if key != "rows" and not key.startswith(("time by", "one_"))})
    print("\n| work | tool | cells | remat | cells/s | of target | TFLOP/s | of peak | GiB | compile s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    rows = [row for tool in report.values() for row in tool["rows"]]
    for row in sorted(rows, key=lambda row: (list(TARGETS).index(row["work"]), row["tool"], row["cells"])):
        cells = [row["work"], row["tool"], row["cells"], "yes" if row.get("remat") else "no"]
        if "seconds" in row:
            memory = "-" if row.get("memory_gib") is None else f"{row['memory_gib']:.1f}"
            cells += [f"{row['cells_per_s']:.0f}", f"{row['cells_per_s'] / TARGETS[row['work']]:.2f}"]
            cells += [f"{row['tflops']:.0f}", f"{row['of_peak']:.0%}", memory, f"{row['compile_s']:.0f}"]
        else:
            cells += [row.get("failed", row.get("skipped", ""))[:60].replace("|", " ").replace("\n", " "), *[""] * 5]
        print("| " + " | ".join(map(str, cells)) + " |")
    for tool in report.values():
        for key, value in tool.items():
            if key.startswith(("time by", "one_")):
                print(f"\n{key}: {json.dumps(value)}")


if __name__ == "__main__":
    main()
