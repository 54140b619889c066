"""The action stage of BioJEPA from pairs and from conditions: updates a second, and seconds to equal loss."""

import statistics
import time
from dataclasses import replace
from typing import Any

import numpy as np

CONDITIONS, BATCH, NOISE = 48, 16, 1.0
"""Of `action`: conditions, effects of an update, standard deviation of a cell around its condition."""


def action(cfg: Any, rounds: int) -> None:
    """Updates of the action stage from pairs and from conditions, and how long each takes to one and the same loss.

    Args:
        cfg: The model; its repaired form is trained.
        rounds: Times twenty updates.

    The loss of both: squared error of the predicted change of mean latents over conditions, 1 for no change.
    """
    runs = {name: ActionRun(name, cfg) for name in ("pairs", "conditions")}
    for run in runs.values():
        run.go(1)
    curve: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            curve[name].append((run.go(20), run.loss()))
    rate = {name: 20 * BATCH / statistics.median(s for s, _ in rows) for name, rows in curve.items()}
    least = min(loss for _, loss in curve["pairs"])
    print(
        f"{CONDITIONS} conditions x {cfg.n_genes} genes, D {cfg.width}, L {cfg.n_layers}, updates of {BATCH} effects\n"
    )
    print(
        "| action stage | effects a second | loss at the end | seconds to the least loss of pairs |\n|---|---|---|---|"
    )
    for name, rows in curve.items():
        spent = np.cumsum([s for s, _ in rows])
        there = next((f"{t:.1f}" for t, (_, loss) in zip(spent, rows, strict=True) if loss <= least), "not reached")
        print(f"| {name} | {rate[name]:.1f} | {rows[-1][1]:.3f} | {there} |")
    print(f"\nconditions over pairs, effects a second: {rate['conditions'] / rate['pairs']:.1f}")


class ActionRun:
    """The action stage of the default model on made-up conditions, from pairs or from conditions."""

    def __init__(self, name: str, cfg: Any) -> None:
        import jax
        import optax
        from vc_model.biojepa.stages import init_part, init_stage, make_loss

        self.cfg = replace(cfg, faithful=False, objective=name)
        g, rng = self.cfg.n_genes, np.random.default_rng(0)
        self.rng, self.base = rng, (rng.gamma(1, 1, g) * (rng.random(g) < 0.5)).astype(np.float32)
        self.effect = (rng.normal(size=(CONDITIONS, g)) * (rng.random((CONDITIONS, g)) < 0.2)).astype(np.float32)
        self.target = rng.normal(size=(CONDITIONS, 1, self.cfg.target_width)).astype(np.float32)
        encoder = init_part("encoder", self.cfg, 0)
        self.params, self.frozen = init_stage("ac", self.cfg, 0, {"encoder": encoder, "teacher": encoder})
        self.z, self.change = self.latents(encoder)
        optimiser, loss = optax.adam(1e-3), make_loss("ac", self.cfg)
        self.moments = optimiser.init(self.params)

        @jax.jit
        def step(params, moments, frozen, batch):
            gradient, _ = jax.grad(loss, has_aux=True)(params, frozen, batch, jax.random.key(0), 1.0)
            updates, moments = optimiser.update(gradient, moments, params)
            return optax.apply_updates(params, updates), moments

        self.step = step

    def cells(self, rows: np.ndarray) -> np.ndarray:
        """[n, g] a cell of each condition, -1 for controls."""
        mean = self.base + np.where((rows >= 0)[:, None], self.effect[rows], 0)
        return np.maximum(mean + NOISE * self.rng.normal(size=mean.shape) * (mean > 0), 0).astype(np.float32)

    def latents(self, encoder) -> tuple[np.ndarray, np.ndarray]:
        """[g, d] mean latents of controls, [c, g, d] their change."""
        from vc_model.biojepa.pooled import MeanLatents

        means, depth = MeanLatents(self.cfg, encoder), np.full(32, 8, np.float32)
        z = means.of(self.cells(np.full(32, -1)), depth)
        return z, np.stack([means.of(self.cells(np.full(32, row)), depth) - z for row in range(CONDITIONS)])

    def actions(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        one = np.ones((len(rows), 1), bool)
        zero = np.zeros((len(rows), 1), np.int32)
        seq = np.zeros((len(rows), 1, self.cfg.seq_width), np.float32)
        return {
            "seq_emb": seq, "target_emb": self.target[rows], "modality": zero, "mode": zero, "has_seq": ~one,
            "has_target": one, "pert_mask": one, "dose": np.full((len(rows), 1), -1, np.float32),
        }  # fmt: skip

    def batch(self) -> dict[str, np.ndarray]:
        rows, depth = self.rng.integers(0, CONDITIONS, BATCH), np.full(BATCH, 8, np.float32)
        if self.cfg.objective == "pairs":
            found = {"x_control": self.cells(np.full(BATCH, -1)), "x_case": self.cells(rows)}
            found |= {"total_control": depth, "total_case": depth, "measured": np.ones(self.cfg.n_genes, bool)}
            return found | self.actions(rows)
        from vc_model.biojepa.conditions import FEWEST_GENES, GENE_SHARE

        k = min(self.cfg.n_genes, max(FEWEST_GENES, int(GENE_SHARE * self.cfg.n_genes)))
        gene = np.sort(self.rng.choice(self.cfg.n_genes, k, replace=False))
        goal, unit = self.change[rows][:, gene], np.square(self.change).mean()
        return {
            "z": np.repeat(self.z[None, gene], BATCH, axis=0), "z_goal": goal, "x_goal": self.effect[rows][:, gene],
            "gene": gene, "weight_latent": np.full(BATCH, 1 / unit, np.float32),
            "weight_effect": np.full(BATCH, 1 / np.square(self.effect).mean(), np.float32), **self.actions(rows),
        }  # fmt: skip

    def go(self, steps: int) -> float:
        """Train; seconds that it took."""
        start = time.perf_counter()
        for _ in range(steps):
            self.params, self.moments = self.step(self.params, self.moments, self.frozen, self.batch())
        np.asarray(self.params["composer"]["unknown"])
        return time.perf_counter() - start

    def loss(self) -> float:
        """Error of the predicted change of mean latents, over all conditions and genes."""
        import jax
        from vc_model.biojepa.stages import bind

        if not hasattr(self, "said"):

            def said(params, z, batch):
                token = bind("composer", self.cfg, params["composer"])(batch)
                return bind("predictor", self.cfg, params["predictor"])(z, token, batch["pert_mask"])[0] - z

            self.said = jax.jit(said)
        error = 0.0
        for row in range(CONDITIONS):
            change = self.said(self.params, self.z[None], self.actions(np.array([row])))
            error += float(np.square(np.asarray(change)[0] - self.change[row]).mean())
        return error / CONDITIONS / float(np.square(self.change).mean())
