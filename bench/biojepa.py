"""BioJEPA beside the torch twin of its tests: same weights, shapes, threads and float32, on CPU, taking turns.

    uv run python bench/biojepa.py --part step        # training step and inference, eager and compiled; FLOP/s
    uv run python bench/biojepa.py --part memory      # peak memory of one training step at 4,000 genes, with remat
    uv run python bench/biojepa.py --part genes       # cost per cell at three numbers of genes
    uv run python bench/biojepa.py --part action      # the action stage from pairs and from conditions, to equal loss

A training step is the pretraining loss of the published model (teacher, student, masked predictor), its gradient and
AdamW; inference is encoder and action-conditioned predictor. Every tool has a process of its own; they take turns, and ratios
are medians over rounds. Prints tables; writes nothing.
"""

import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from biojepa_action import action

ROOT = Path(__file__).resolve().parents[1]
TWIN = ROOT / "packages/vc-model/tests/biojepa/torch_twin.py"


@dataclass(frozen=True, kw_only=True)
class Options:
    part: Literal["step", "memory", "genes", "action", "one", "serve"] = "step"
    """What to measure; `one` is the child process of `memory`, `serve` one tool of `step`."""
    genes: int = 1000
    layers: int = 2
    cells: int = 4
    rounds: int = 7
    """Timed rounds; medians are printed."""
    expressed: float = 0.15
    """Share of genes that a median cell expresses."""
    room: float = 0.3
    """Share of genes that the richest cell of the screen expresses."""
    threads: int = 2
    compiled: bool = True
    """Also time torch.compile."""
    tool: str = "ours"
    """Of the child process: one of `TOOLS`; ours, ours-remat, torch."""


def make_config(options: Options, **changes):
    from vc_model.biojepa.config import BioJepaConfig

    return BioJepaConfig.v0_6(options.genes, n_layers=options.layers, fusion_dropout=0.0, **changes)


TOOLS = ("ours", "ours, every gene", "ours, repaired", "torch eager", "torch compiled")
"""Ours with equal tokens once, ours with a token of every gene, the model of the default (another function), the twin twice."""


def tool_config(options: Options):
    """The published model, for ours with the room that the richest cell of the screen needs; or the repaired one."""
    cfg = make_config(options, faithful=options.tool != "ours, repaired")
    return cfg.for_cells(int(options.room * options.genes)) if options.tool == "ours" else cfg


def make_data(cfg, options: Options) -> dict[str, np.ndarray]:
    rng, cells = np.random.default_rng(0), options.cells
    share = np.minimum(options.expressed * np.exp(rng.normal(0, 0.3, (cells, 1))), options.room)
    x = rng.gamma(1, 1, (cells, cfg.n_genes)) * (rng.random((cells, cfg.n_genes)) < share)
    return {
        "x": x.astype(np.float32),
        "total": rng.normal(8, 1, cells).astype(np.float32),
        "measured": np.ones(cfg.n_genes, bool),
        "action": rng.normal(size=(cells, 2, cfg.action_width)).astype(np.float32),
    }


def make_ours(cfg, data) -> tuple[Callable[[], object], Callable[[], object]]:
    """Functions that run one training step and one inference, and wait for it."""
    import jax
    import jax.numpy as jnp
    import optax
    from vc_model.biojepa.cpu import few_cells
    from vc_model.biojepa.stages import bind, init_part, init_stage, make_loss

    loss = make_loss("pretrain", cfg)
    params, frozen = init_stage("pretrain", cfg, 0, {})
    optimiser = optax.adamw(1e-4, weight_decay=0.05)
    batch = {key: jnp.asarray(data[key]) for key in ("x", "total", "measured")}

    def step(state, frozen, batch, key):
        params, moments = state
        (value, _), gradient = jax.value_and_grad(loss, has_aux=True)(params, frozen, batch, key, jnp.float32(0.5))
        updates, moments = optimiser.update(gradient, moments, params)
        return (optax.apply_updates(params, updates), moments), value

    step = jax.jit(step, donate_argnums=0)
    kept = [(params, optimiser.init(params))]
    key = jax.random.key(0)

    def train():
        kept[0], value = step(kept[0], frozen, batch, key)
        value.block_until_ready()

    most = int(np.count_nonzero(data["x"], axis=1).max())
    inferring = cfg if cfg.room is None else cfg.for_cells(most)

    @jax.jit
    def infer(p, x, total, action):
        encoder, predictor = (bind(part, inferring, p[part]) for part in ("encoder", "predictor"))

        def mean(x, total, action):
            z = encoder.tokens(x, total)
            return predictor(z.z, action, jnp.ones(action.shape[:2], bool), z.weight)[0]

        return few_cells(mean, (x, total, action), cfg.n_genes)

    parts = {"encoder": frozen["teacher"], "predictor": init_part("predictor", cfg, 0)}
    action = jnp.asarray(data["action"])
    return train, lambda: infer(parts, batch["x"], batch["total"], action).block_until_ready()


def load_twin():
    spec = importlib.util.spec_from_file_location("torch_twin", TWIN)
    twin = importlib.util.module_from_spec(spec)
    sys.modules["torch_twin"] = twin  # torch.compile looks its functions' modules up
    spec.loader.exec_module(twin)
    return twin


def make_torch(cfg, data, *, compiled: bool) -> tuple[Callable[[], object], Callable[[], object]]:
    import torch
    from vc_model.biojepa.stages import init_part

    twin = load_twin()
    encoder, teacher = (twin.make("encoder", cfg, init_part("encoder", cfg, 0)) for _ in range(2))
    maskpred = twin.make("maskpred", cfg, init_part("maskpred", cfg, 0))
    predictor = twin.make("predictor", cfg, init_part("predictor", cfg, 0))
    tensors = {key: torch.from_numpy(value) for key, value in data.items()}
    optimiser = torch.optim.AdamW([*encoder.parameters(), *maskpred.parameters()], lr=1e-4, weight_decay=0.05)
    masked = torch.from_numpy(np.random.default_rng(0).random(data["x"].shape) < cfg.mask_ratio)

    def loss():
        return twin.pretrain_loss(cfg, encoder, maskpred, teacher, tensors, masked)

    def forward():
        return predictor(encoder(tensors["x"], tensors["total"]), tensors["action"])[0]

    if compiled:
        loss, forward = torch.compile(loss), torch.compile(forward)

    def train():
        optimiser.zero_grad(set_to_none=True)
        loss().backward()
        optimiser.step()

    def infer():
        with torch.no_grad():
            forward()

    return train, infer


def take_turns(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, after two warm-up calls."""
    for function in functions.values():
        function(), function()
    seconds = [{name: timed(function) for name, function in functions.items()} for _ in range(rounds)]
    return {name: statistics.median(row[name] for row in seconds) for name in functions}


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


PRODUCTS = ((4096, 256, 1408), (2048, 2048, 2048))
"""Shapes of matrix products: that of SwiGLU, and a large square."""


def make_products(tool: str) -> dict[str, Callable[[], object]]:
    """The matrix products of `PRODUCTS` by the tool's own library."""
    found: dict[str, Callable[[], object]] = {}
    for m, k, n in PRODUCTS:
        a, b = (np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in ((m, k), (k, n)))
        if tool.startswith("ours"):
            import jax
            import jax.numpy as jnp

            multiply, pair = jax.jit(lambda a, b: a @ b), (jnp.asarray(a), jnp.asarray(b))
            found[f"{m}x{k}x{n}"] = lambda multiply=multiply, pair=pair: multiply(*pair).block_until_ready()
        else:
            import torch

            pair = (torch.from_numpy(a), torch.from_numpy(b))
            found[f"{m}x{k}x{n}"] = lambda pair=pair: pair[0] @ pair[1]
    return found


def serve(options: Options) -> None:
    """One tool in a process of its own: reads what to do from stdin, answers with seconds."""
    cfg = tool_config(options)
    data = make_data(cfg, options)
    if options.tool.startswith("ours"):
        train, infer = make_ours(cfg, data)
    else:
        import torch

        torch.set_num_threads(options.threads)
        train, infer = make_torch(cfg, data, compiled=options.tool == "torch compiled")
    functions = {"train": train, "infer": infer} | make_products(options.tool)
    most = int(np.count_nonzero(data["x"], axis=1).max())
    work = flops(cfg, options.cells, most, ours=options.tool.startswith("ours"))
    for function in functions.values():
        function(), function()
    print(json.dumps(work), flush=True)
    for line in sys.stdin:
        print(timed(functions[line.strip()]), flush=True)


class Served:
    """A tool in a process of its own, so that neither its threads nor its memory disturb another's."""

    def __init__(self, tool: str, options: Options) -> None:
        arguments = ["--part", "serve", "--tool", tool, "--genes", str(options.genes), "--layers", str(options.layers)]
        arguments += ["--cells", str(options.cells), "--threads", str(options.threads)]
        arguments += ["--expressed", str(options.expressed), "--room", str(options.room)]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def wait(self) -> dict[str, float]:
        """Floating point operations that a step of each kind does."""
        while not (line := self.process.stdout.readline()).startswith("{"):
            if not line:
                raise RuntimeError("a tool ended before it was ready; its message stands above")
        return json.loads(line)

    def seconds(self, what: str) -> float:
        # Threads of the tool before may still wait spinning.
        time.sleep(0.5)
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def flops(cfg, cells: int, most_expressed: int, *, ours: bool) -> dict[str, float]:
    """Floating point operations of a step, 2 per multiply-add (model F1); backward is twice forward.

    The twin does those of the published equations. Ours does what is left of them where equal tokens are taken once, few
    action slots are read as a product of low rank, the last block computes only tokens that are asked for, and inference
    no log variance.
    """
    from vc_model.biojepa.encoder import room_for

    d, f, g, k = cfg.width, cfg.hidden, cfg.n_genes, cfg.width // cfg.n_heads
    layer, embed = 10 * d * d + 4 * d * k + 6 * d * f, 6 * d * d

    def encoder(n: int) -> int:
        return n * (cfg.n_layers * layer + embed)

    def tokens(room: int | None, share: float = 1) -> int:
        return g if room is None else room_for(room, share) + 2

    whole, student = tokens(cfg.room), tokens(cfg.room, 1 - cfg.mask_ratio)
    step = encoder(whole) + 3 * (encoder(student) + student * (cfg.n_mask_layers * layer + 2 * d * d))
    if cfg.faithful:
        # The covariance of the student's latents has a backward pass, that of the teacher's has none.
        step += 2 * (whole + 3 * student) * d * d
    context = g if cfg.room is None else tokens(cfg.for_cells(most_expressed).room)
    if not ours:
        predictor = 2 * g * cfg.n_layers * (layer + 4 * d * d + 2 * d * k) + g * 4 * d * d
    elif cfg.faithful:
        layer_ac = layer + 2 * d * d
        predictor = (context + g) * (cfg.n_layers - 1) * layer_ac
        predictor += context * (6 * d * d + 2 * d * k) + g * layer_ac + g * 2 * d * d
    else:
        predictor = g * cfg.n_layers * (layer + 6 * d * d) + g * 4 * d * d
    return {"train": cells * step, "infer": cells * (encoder(context) + predictor)}


def bandwidth() -> float:
    """Bytes read and written per second by adding in place; tells a machine that is bound by memory from one that is not."""
    big = np.ones(2**26, np.float32)
    return 2 * big.nbytes / min(timed(lambda: np.add(big, 1, out=big)) for _ in range(5))


def step(options: Options) -> None:
    cfg = make_config(options)
    names = [name for name in TOOLS if options.compiled or name != "torch compiled"]
    tools = {name: Served(name, options) for name in names}
    done = {name: tool.wait() for name, tool in tools.items()}
    products = {f"{m}x{k}x{n}": 2 * m * k * n for m, k, n in PRODUCTS}
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.rounds):
        for what in ("train", "infer", *products):
            for name, tool in tools.items():
                seconds.setdefault((what, name), []).append(tool.seconds(what))
    for tool in tools.values():
        tool.process.stdin.close()
        tool.process.wait()
    median = {key: statistics.median(values) for key, values in seconds.items()}
    rates = {(what, name): work / median[what, name] for what, work in products.items() for name in names}
    for (what, name), rate in rates.items():
        print(f"matrix product {what}, {name}: {rate / 1e9:.1f} GFLOP/s")
    print(f"a pass over memory, one thread: {bandwidth() / 1e9:.1f} GB/s read and written")
    rate, published = max(rates.values()), done["torch eager"]
    print(
        f"\n{options.cells} cells x {options.genes} genes, D {cfg.width}, L {cfg.n_layers}, {options.threads} threads, "
        f"{options.expressed:.0%} of genes expressed, {options.room:.0%} in the richest cell\n"
    )
    print(
        "| work | tool | seconds | ours is faster by | GFLOP done, of the published | of the product rate, done | published |"
    )
    print("|---|---|---|---|---|---|---|")
    for what in ("train", "infer"):
        for name in names:
            ratio = statistics.median(np.divide(seconds[what, name], seconds[what, "ours"]))
            used, own = median[what, name] * rate, done[name][what]
            print(
                f"| {what} | {name} | {median[what, name]:.3f} | {ratio:.2f} x | {own / 1e9:.1f}, "
                f"{own / published[what]:.0%} | {own / used:.0%} | {published[what] / used:.0%} |"
            )


def genes(options: Options) -> None:
    print("| genes | train s per cell | infer s per cell | train us per cell and gene |\n|---|---|---|---|")
    for n_genes in (1000, 2000, 4000):
        cfg = make_config(Options(genes=n_genes, layers=options.layers))
        train, infer = make_ours(cfg, make_data(cfg, options))
        seconds = take_turns({"train": train, "infer": infer}, options.rounds)
        train_s, infer_s = (seconds[name] / options.cells for name in ("train", "infer"))
        print(f"| {n_genes} | {train_s:.3f} | {infer_s:.3f} | {train_s / n_genes * 1e6:.1f} |", flush=True)


def one(options: Options) -> None:
    """Peak resident memory of two training steps, beyond what is there before the first."""
    cfg = make_config(options, remat=options.tool == "ours-remat")
    data = make_data(cfg, options)
    if options.tool == "torch":
        import torch

        torch.set_num_threads(options.threads)
        train, _ = make_torch(cfg, data, compiled=False)
    else:
        train, _ = make_ours(cfg, data)
    before = current_rss()
    train(), train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"before": before, "peak": peak}))


def current_rss() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory(options: Options) -> None:
    print("| tool | peak GiB | of which the step added | against torch |\n|---|---|---|---|")
    added = {}
    for tool in ("torch", "ours", "ours-remat"):
        arguments = ["--part", "one", "--tool", tool, "--genes", "4000", "--layers", str(options.layers)]
        arguments += ["--cells", str(options.cells)]
        done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
        report = json.loads(done.stdout.splitlines()[-1])
        added[tool] = report["peak"] - report["before"]
        print(
            f"| {tool} | {report['peak'] / 2**30:.2f} | {added[tool] / 2**30:.2f} | {added[tool] / added['torch']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    chosen = tyro.cli(Options)
    {
        "step": step,
        "memory": memory,
        "genes": genes,
        "action": lambda options: action(make_config(options, width=64, action_width=128), options.rounds),
        "one": one,
        "serve": serve,
    }[chosen.part](chosen)
