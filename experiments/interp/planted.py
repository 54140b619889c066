"""A dictionary that is known: what training with vc-interp recovers beside sae-lens with its defaults."""

import tempfile
from pathlib import Path

import numpy as np
from vc_interp.files.stored import open_latents
from vc_interp.sae.settings import SaeSettings
from vc_interp.sae.stability import max_cosine
from vc_interp.sae.train import train_sae
from vc_interp.testing import plant, write_rows

WIDTH, TRUE, ACTIVE, ROWS = 64, 128, 4, 40_000
STEPS, BATCH = 2000, 512
KINDS = ("batchtopk", "topk", "jumprelu", "standard")


def planted(seed: int, kind: str) -> dict[str, dict[str, float]]:
    """Recovery of 128 directions in 64 dimensions, four in a row, by both with one kind of autoencoder."""
    found = plant(ROWS, WIDTH, TRUE, float(ACTIVE), seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / "x.zarr", found.x_nd)
        stored = open_latents(Path(folder) / "x.zarr")
        settings = SaeSettings(architecture=kind, features=TRUE, k=float(ACTIVE), batch=BATCH,
                               passes=STEPS * BATCH / len(stored), seed=seed)  # fmt: skip
        made = train_sae(stored, Path(folder) / kind, settings)
    ours = {"cosine": float(max_cosine(found.truth_kd, made.dec_fd).mean()), "l0": made.record["measures"]["l0"]}
    return {"vc-interp": ours, "sae-lens": defaults(kind, found, seed)}


def defaults(kind: str, found, seed: int) -> dict[str, float]:
    """sae-lens with its default rate, schedule and penalty; the size, the rows, the steps and k are the same."""
    import torch
    from sae_lens import saes
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    sizes = {"d_in": WIDTH, "d_sae": TRUE}
    makers = {
        "batchtopk": lambda: saes.BatchTopKTrainingSAE(saes.BatchTopKTrainingSAEConfig(k=float(ACTIVE), **sizes)),
        "topk": lambda: saes.TopKTrainingSAE(saes.TopKTrainingSAEConfig(k=ACTIVE, **sizes)),
        "jumprelu": lambda: saes.JumpReLUTrainingSAE(saes.JumpReLUTrainingSAEConfig(**sizes)),
        "standard": lambda: saes.StandardTrainingSAE(saes.StandardTrainingSAEConfig(**sizes)),
    }
    rng = np.random.default_rng(seed)

    def rows():
        while True:
            yield torch.from_numpy(found.x_nd[rng.integers(0, len(found.x_nd), BATCH)])

    torch.manual_seed(seed)
    config = SAETrainerConfig(total_training_samples=STEPS * BATCH, train_batch_size_samples=BATCH, lr_end=3e-5)
    trained = SAETrainer(cfg=config, sae=makers[kind](), data_provider=rows()).fit()
    with torch.no_grad():
        x = torch.from_numpy(found.x_nd[:8192])
        code = trained.encode(x)
    return {
        "cosine": float(max_cosine(found.truth_kd, trained.W_dec.detach().numpy()).mean()),
        "l0": float((code > 0).float().sum(dim=1).mean()),
    }
