"""Does accuracy rise over the classes of the support verdict? Held-out cells of every screen, and a table with intervals.

    uv run --no-dev python experiments/support.py --out docs/results/support.md

Of every condition half of the cells are put aside. A third of the targets is held out altogether, and where there are
several cell lines another third of the (cell line, target) pairs; the model is fitted on the other halves, judges every
condition before it sees a number, and its answers are compared with the halves put aside. In turn every target is held out.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from vc_model.ask.everything import whole_split
from vc_model.ask.memory import make_memory
from vc_model.ask.precedent import correlation, repeatability, share_of_repeat
from vc_model.ask.verdict import VERDICTS, judge
from vc_model.contracts import Screen
from vc_model.models import make_model
from vc_model.table.effects import EffectTable
from vc_model.table.folds import units
from vc_model.table.pseudobulk import load_tables

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "single_cell"
N_FOLDS = 3
MIN_CELLS = 10  # of each half


@dataclass(frozen=True)
class Half(Screen):
    """Some cells of a screen, held in memory."""

    x_ng: sp.csr_matrix

    def rows(self, start: int, stop: int) -> sp.csr_matrix:
        """Raw counts of the cells `start:stop`."""
        return self.x_ng[start:stop]


def half(adata, keep_n: np.ndarray, path: Path) -> Half:
    """The cells of a mask as a screen of their own; groups stay contiguous."""
    x_ng = sp.csr_matrix(adata.X[keep_n], dtype=np.float32)
    groups = adata.uns["groups"].copy()
    before_n = np.concatenate([[0], np.cumsum(keep_n)])
    groups["start"], groups["stop"] = before_n[groups["start"].to_numpy()], before_n[groups["stop"].to_numpy()]
    groups = groups[groups["stop"] > groups["start"]].reset_index(drop=True)
    return Half(path, {}, adata.obs[keep_n], adata.var, groups, x_ng.indptr.astype(np.int64), x_ng)


def tables_of(path: Path, seed: int) -> tuple[EffectTable, EffectTable]:
    """The effects of a screen, measured twice: on random halves of the cells of every group, controls too."""
    from vc_data.screen.file import read_screen

    adata = read_screen(path)
    rng = np.random.default_rng(seed)
    first_n = np.zeros(adata.n_obs, dtype=bool)
    for start, stop in zip(adata.uns["groups"]["start"], adata.uns["groups"]["stop"], strict=True):
        order = rng.permutation(np.arange(start, stop))
        first_n[order[: (len(order) + rng.integers(2)) // 2]] = True
    made = []
    for keep_n in (first_n, ~first_n):
        screen = half(adata, keep_n, path)
        made.append(load_tables(screen, whole_split(screen, min_cells=MIN_CELLS, seed=seed))[0])
    return made[0], made[1]


def folds_of(table: EffectTable, seed: int) -> list[np.ndarray]:
    """Masks of training rows: in turn a third of the targets is left out, and with several lines a third of the pairs."""
    rng = np.random.default_rng([seed, 3])
    names = sorted({target for action in table.conditions.actions for target in action.targets})
    fold_of = {name: int(at) % N_FOLDS for name, at in zip(names, rng.permutation(len(names)), strict=True)}
    many = len(table.trained_lines) > 1
    lines = {line: at for at, line in enumerate(table.trained_lines)}
    masks = []
    for fold in range(N_FOLDS):
        train_p = np.ones(len(table), dtype=bool)
        for row, (line, action) in enumerate(zip(table.conditions.cell_line, table.conditions.actions, strict=True)):
            if (len(names) >= N_FOLDS and any(fold_of[target] == fold for target in action.targets)) or (
                many
                and any((fold_of[target] + lines[line]) % N_FOLDS == (fold + 1) % N_FOLDS for target in action.targets)
            ):
                train_p[row] = False
        if 2 <= train_p.sum() < len(table):
            masks.append(train_p)
    return masks


def judge_screen(path: Path, model: str, seed: int) -> dict[str, list[np.ndarray]]:
    """For every asked condition: class, correlations of answer, mean effect and repeat, and its perturbation."""
    table, other = tables_of(path, seed)
    rows_of = {
        pair: row for row, pair in enumerate(zip(other.conditions.cell_line, other.conditions.actions, strict=True))
    }
    pairs = zip(table.conditions.cell_line, table.conditions.actions, strict=True)
    both = [(row, rows_of[pair]) for row, pair in enumerate(pairs) if pair in rows_of]
    mine, theirs = (np.array(rows) for rows in zip(*both, strict=True))
    unit_p = units(table.conditions)
    noise_p = other.noise_pg().mean(axis=1)
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("kind", "said", "mean", "repeat", "unit")}
    for train_p in folds_of(table, seed):
        train = table.subset(np.flatnonzero(train_p))
        fitted = make_model(model, seed).fit(train)
        memory = make_memory(train, fitted)
        asked = table.conditions.subset(mine)
        verdicts = judge(memory.known, memory.relatives, asked)
        truth_mg = other.check_pg[theirs]
        mean_mg = memory_mean(memory, asked)
        found["kind"].append(verdicts.kind_q)
        found["said"].append(correlation(fitted.predict(asked).delta_pg, truth_mg))
        found["mean"].append(correlation(mean_mg, truth_mg))
        found["repeat"].append(repeatability(truth_mg, noise_p[theirs]))
        found["unit"].append(unit_p[mine])
    return found


def memory_mean(memory, asked) -> np.ndarray:
    """[q, g] mean effect of the line's training singles, times the number of targets."""
    order = {line: row for row, line in enumerate(memory.lines)}
    row_q = np.array([order.get(line, len(memory.lines)) for line in asked.cell_line.tolist()])
    return memory.mean_lg[row_q] * asked.sizes[:, None]


def rows_of_table(name: str, found: dict[str, list[np.ndarray]]) -> list[str]:
    """Lines of the page: one for each class with at least three perturbations."""
    if not found["kind"]:
        return []
    kind, said, mean, repeat, unit = (np.concatenate(found[key]) for key in ("kind", "said", "mean", "repeat", "unit"))
    lines = []
    for at, verdict in enumerate(VERDICTS):
        use = kind == at
        n = len(np.unique(unit[use]))
        if n < 3:
            continue
        share, lower, upper, by_mean = share_of_repeat(said[use], mean[use], repeat[use], unit[use])
        lines.append(
            f"| {name} | {verdict} | {n} | {int(use.sum())} | {said[use].mean():.2f} | {repeat[use].mean():.2f} | "
            f"{share:.2f} [{lower:.2f}, {upper:.2f}] | {by_mean:.2f} |"
        )
    return lines


def screens(folder: Path, names: list[str]) -> dict[str, Path]:
    """Converted screens by name: the simulator's, and every real one that is there."""
    from vc_data.convert.run import convert
    from vc_data.options import Columns, ConvertOptions
    from vc_data.simulate import SimulatorConfig, write_simulation

    config = SimulatorConfig(
        n_genes=300, n_pathways=8, n_singles=48, n_pairs=10, cells_per_condition=60, controls_per_line=400
    )
    sources = {"simulated": (folder / "simulated" / "screen.h5ad", Columns())}
    write_simulation(config, 0, folder / "simulated")
    for path in sorted(SHARED.glob("*.h5ad")):
        sources[path.stem] = (path, Columns(cell_line="cell_line", batch="batch", perturbation="perturbation"))
    made = {}
    for name, (path, columns) in sources.items():
        if names and name not in names:
            continue
        try:
            made[name] = convert(path, folder / f"{name}.zarr", ConvertOptions(columns=columns)).path
        except ValueError as error:
            print(f"{name}: left out: {error}", file=sys.stderr)
    return made


def main() -> None:
    """Make the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/results/support.md"))
    parser.add_argument("--model", default="stacked")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in screens(Path(folder), args.only).items():
            try:
                lines += rows_of_table(name, judge_screen(path, args.model, args.seed))
            except ValueError as error:
                print(f"{name}: left out: {error}", file=sys.stderr)
            print(f"{name}: done", file=sys.stderr, flush=True)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(page(lines, args.model, args.seed))
    print(f"wrote {args.out}")


def page(lines: list[str], model: str, seed: int) -> str:
    """The page in markdown."""
    head = [
        "# The support verdict on held-out cells",
        "",
        "Does accuracy rise with what training knows of a condition? Made by",
        f"`uv run --no-dev python experiments/support.py --model {model} --seed {seed}`; definitions: `vc_model.ask.verdict`.",
        "",
        "Share: correlation of answer and held-out cells over that of a repeat of the experiment with as many cells; above 1",
        "the answer is nearer than one noisy repeat. Intervals: 90 %, bootstrap over perturbations. Mean: share of the mean",
        "effect of all training perturbations, which any name would get.",
        "",
        "| screen | verdict | perturbations | questions | correlation | repeat | share of a repeat | mean |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *lines]) + "\n"


if __name__ == "__main__":
    main()
