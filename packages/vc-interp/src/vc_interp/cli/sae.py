"""`vc-interp sae`: train a dictionary."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional


def sae(
    latents: Positional[Path],
    out: Positional[Path],
    /,
    architecture: Literal["batchtopk", "topk", "jumprelu", "standard"] = "batchtopk",
    features: int = 0,
    k: float = 8.0,
    l1: float = 1.0,
    whiten: bool = False,
    passes: float = 0.0,
    batch: int = 1024,
    lr: float = 3e-3,
    save_every: int = 500,
    seed: int = 0,
    device: str = "cpu",
    overwrite: bool = False,
) -> None:
    """Train a sparse autoencoder on activations and save it in sae-lens's format; the same command goes on after a stop.

    Example: vc-interp sae latents.zarr sae --features 256 --k 8

    Args:
        latents: Activations (latents-v1), read from disk as they are needed.
        out: Folder to write: cfg.json and sae_weights.safetensors of sae-lens, and a record. Unfinished work is in OUT.train.
        architecture: How sparsity is made.
        features: Number of features; 0: twice the width.
        k: Active features of a row: exactly (topk), on average (batchtopk), or what jumprelu and standard are drawn to.
        l1: Weight of the penalty at the start (standard).
        whiten: Give every direction of the activations the same variance first: for small effects beside large differences of cells.
        passes: Passes over the rows; 0: as many as make 4,000 steps, at least 1.
        batch: Rows of a step.
        lr: Peak learning rate.
        save_every: Steps between saves.
        seed: Of weights and order.
        device: cpu, or cuda where torch has it.
        overwrite: Replace an earlier dictionary.
    """
    from vc_contracts.whole import check_target

    check_target(out, kind="dictionary", overwrite=overwrite, inputs=[latents], make_parent=True)
    from vc_interp.files.stored import open_latents
    from vc_interp.sae.settings import SaeSettings
    from vc_interp.sae.train import check_installed, train_sae

    check_installed()
    settings = SaeSettings(
        architecture=architecture, features=features, k=k, l1=l1, whiten=whiten, passes=passes, batch=batch, lr=lr,
        save_every=save_every, seed=seed, device=device,
    )  # fmt: skip
    made = train_sae(open_latents(latents), out, settings, overwrite=overwrite)
    found = made.record["measures"]
    print(
        f"wrote {out}: {made.n_features} features, {found['explained']:.3f} of the variance explained with {found['l0']:.1f} "
        f"active a row, {found['dead']} dead. Next: vc-interp features {latents} {out} --out features"
    )
