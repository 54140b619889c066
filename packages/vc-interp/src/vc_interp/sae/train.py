"""Training with sae-lens on activations that stay on disk: killed and resumed gives the same bytes (CPU).

sae-lens's own models, losses and trainer steps are used, and its own files are written. Ours are the order of rows, the start
(decoder bias at the mean, activations scaled to a norm of sqrt(d)) and the saves, which are whole or absent.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vc_interp.errors import InputError
from vc_interp.files.stored import StoredLatents, check_enough
from vc_interp.sae.dictionary import CONFIG, RECORD, WEIGHTS, Dictionary, read_dictionary
from vc_interp.sae.measure import measure
from vc_interp.sae.order import batches, make_order
from vc_interp.sae.settings import SaeSettings

QUESTION = "question.json"
DRAW = 0.02
"""Most that the L1 penalty changes in a step, on the log scale."""
LEAST_VARIANCE = 1e-3
"""Of the mean variance of a direction, added to every one before whitening."""
NEEDED = "training a sparse autoencoder needs sae-lens ({}). Install it with: uv pip install 'vc-interp[sae]'"


def train_sae(
    stored: StoredLatents,
    out: Path,
    settings: SaeSettings,
    *,
    overwrite: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> Dictionary:
    """Train a sparse autoencoder and write it in sae-lens's format; the same call goes on after a stop.

    Args:
        stored: Activations, from `open_latents`.
        out: Folder for `cfg.json`, `sae_weights.safetensors` and our record; unfinished work lies in `OUT.train`.
        settings: The run.
        overwrite: Replace an earlier dictionary.
        on_step: Called after every step with its number.

    Returns:
        The dictionary, as it was read back.

    Raises:
        InputError: If the activations are constant or too few, or sae-lens is not installed.
    """
    from vc_contracts.whole import write_whole

    n_features = settings.n_features(stored.width)
    if settings.k > n_features:
        raise InputError(f"--k: expected at most the {n_features} features, found {settings.k:g}.")
    check_enough(stored, n_features)
    work = out.with_name(out.name + ".train")
    trainer = _make_trainer(stored, settings)
    _resume(trainer, work, _question(stored, settings))
    n_steps = settings.n_steps(len(stored))
    _run(trainer, stored, settings, n_steps, work, on_step)
    scaler = trainer.activation_scaler
    if scaler.whitening is None:
        trainer.sae.fold_activation_norm_scaling_factor(scaler.scaling_factor)
    else:
        trainer.sae.fold_activation_whitening(
            scaler.whitening.mean, scaler.whitening.matrix, scaler.whitening.inverse_matrix
        )
    trainer.set_final_sae_metadata()
    with write_whole(out, kind="dictionary", overwrite=overwrite, make_parent=True) as temporary:
        temporary.mkdir()
        trainer.sae.save_inference_model(str(temporary))
        made = read_dictionary(temporary)
        record = {
            "site": stored.site, "model": stored.model, "checkpoint": stored.checkpoint, "activations": stored.content, "rows": len(stored),
            "settings": asdict(settings), "steps": n_steps, "measures": asdict(measure(stored, made)),
        }  # fmt: skip
        (temporary / RECORD).write_text(json.dumps(record, indent=1))
    for folder in work.glob("step*"):
        _drop(folder)
    shutil.rmtree(work, ignore_errors=True)
    return read_dictionary(out)


def _make_trainer(stored: StoredLatents, settings: SaeSettings) -> Any:
    """A fresh trainer of sae-lens."""
    torch, lens, trainers = _import()
    torch.manual_seed(settings.seed)
    width, n_features = stored.width, settings.n_features(stored.width)
    norm = "covariance_whitening" if settings.whiten else "expected_average_only_in"
    common = {"d_in": width, "d_sae": n_features, "normalize_activations": norm, "device": settings.device}
    # The threshold that stands in for the k largest follows them by this much a step; a short run must get there, too.
    follow = min(0.1, max(0.01, 20 / settings.n_steps(len(stored))))
    if settings.architecture == "topk":
        sae = lens.TopKTrainingSAE(lens.TopKTrainingSAEConfig(k=int(settings.k), **common))
    elif settings.architecture == "batchtopk":
        sae = lens.BatchTopKTrainingSAE(
            lens.BatchTopKTrainingSAEConfig(k=settings.k, topk_threshold_lr=follow, **common)
        )
    elif settings.architecture == "jumprelu":
        sae = lens.JumpReLUTrainingSAE(
            lens.JumpReLUTrainingSAEConfig(
                jumprelu_sparsity_loss_mode="quadratic", target_l0=settings.k, l0_coefficient=1.0,
                jumprelu_bandwidth=0.5, jumprelu_init_threshold=0.1, jumprelu_ste_to_input=False, **common,
            )
        )  # fmt: skip
    else:
        sae = lens.StandardTrainingSAE(lens.StandardTrainingSAEConfig(l1_coefficient=settings.l1, **common))
    n_steps, batch = settings.n_steps(len(stored)), min(settings.batch, len(stored))
    config = trainers.SAETrainerConfig(
        total_training_samples=n_steps * batch, train_batch_size_samples=batch, device=settings.device,
        lr=settings.lr, lr_end=settings.lr / 10, lr_warm_up_steps=min(100, n_steps // 20),
        lr_decay_steps=n_steps // 5, dead_feature_window=settings.dead_window,
    )  # fmt: skip
    trainer = trainers.SAETrainer(cfg=config, sae=sae, data_provider=iter(()))
    _normalise(trainer, stored, settings)
    return trainer


def _normalise(trainer: Any, stored: StoredLatents, settings: SaeSettings) -> None:
    """How activations are scaled on the way in, from all rows rather than from some batches; the start of the decoder's bias."""
    import torch

    if not settings.whiten:
        scale = float(np.sqrt(stored.width) / max(stored.mean_norm, 1e-12))
        with torch.no_grad():
            trainer.sae.b_dec.copy_(torch.from_numpy((scale * stored.mean_d).astype(np.float32)))
        trainer.activation_scaler.scaling_factor = scale
        return
    from sae_lens.training.activation_scaler import ActivationWhitening

    total_dd = np.zeros((stored.width, stored.width))
    for _, x_nd in stored.blocks():
        centred_nd = x_nd - stored.mean_d
        total_dd += centred_nd.T @ centred_nd
    value_d, axes_dd = np.linalg.eigh(total_dd / len(stored))
    # Directions without variance hold rounding; they are not blown up.
    size_d = np.sqrt(np.maximum(value_d, 0) + LEAST_VARIANCE * value_d.mean())
    parts = (stored.mean_d, axes_dd / size_d, size_d[:, None] * axes_dd.T)
    trainer.activation_scaler.whitening = ActivationWhitening(*(torch.from_numpy(part.copy()) for part in parts))


def check_installed() -> None:
    """Refuse early, without importing anything, where there is no sae-lens.

    Raises:
        InputError: If it is not installed.
    """
    if find_spec("sae_lens") is None or find_spec("torch") is None:
        raise InputError(NEEDED.format("not installed"))


class _Lens:
    """The names of sae-lens that are used."""

    def __init__(self) -> None:
        from sae_lens import saes
        from sae_lens.config import SAETrainerConfig
        from sae_lens.training.sae_trainer import SAETrainer

        self.saes, self.SAETrainerConfig, self.SAETrainer = saes, SAETrainerConfig, SAETrainer


def _import() -> tuple[Any, Any, Any]:
    """torch, sae-lens's models and its trainer.

    Raises:
        InputError: If they are not installed.
    """
    import os
    import warnings

    os.environ.setdefault("WANDB_MODE", "disabled")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch

            names = _Lens()
    except ImportError as error:
        raise InputError(NEEDED.format(error)) from error
    return torch, names.saes, names


def _run(
    trainer: Any,
    stored: StoredLatents,
    settings: SaeSettings,
    n_steps: int,
    work: Path,
    on_step: Callable[[int], None] | None,
) -> None:
    import torch

    order = make_order(stored, settings.batch, settings.seed)
    rows = batches(stored, order, trainer.n_training_steps)
    bar = tqdm(total=n_steps, initial=trainer.n_training_steps, desc="sae", leave=False, disable=None)
    try:
        while trainer.n_training_steps < n_steps:
            trainer.maybe_reset_sparsity()
            made = trainer.step(torch.from_numpy(next(rows)))
            trainer.n_training_steps += 1
            if settings.architecture == "standard":
                _draw_to(trainer, made, settings.k)
            bar.update()
            if trainer.n_training_steps % settings.save_every == 0 and trainer.n_training_steps < n_steps:
                _save(trainer, work, _question(stored, settings))
            if on_step is not None:
                on_step(trainer.n_training_steps)
    finally:
        bar.close()
        rows.close()


def _draw_to(trainer: Any, made: Any, k: float) -> None:
    """Change the L1 penalty a little, towards k active features a row."""
    active = float((made.feature_acts > 0).sum()) / len(made.feature_acts)
    change = float(np.exp(np.clip(DRAW * np.log(max(active, 0.1 * k) / k), -DRAW, DRAW)))
    _set_penalty(trainer, trainer.coefficient_schedulers["l1"].final_value * change)


def _set_penalty(trainer: Any, l1: float) -> None:
    penalty = trainer.coefficient_schedulers["l1"]
    penalty.final_value = penalty.current_value = l1


def _question(stored: StoredLatents, settings: SaeSettings) -> dict[str, Any]:
    asked = {name: value for name, value in asdict(settings).items() if name != "save_every"}
    return {"activations": stored.content, "rows": len(stored), "dims": stored.width, "settings": asked}


def _save(trainer: Any, work: Path, question: dict[str, Any]) -> None:
    """One save, whole or absent; the one before it goes."""
    work.mkdir(parents=True, exist_ok=True)
    name = f"step{trainer.n_training_steps}"
    trainer.save_checkpoint(name + ".tmp", base_path=work)
    penalty = trainer.coefficient_schedulers.get("l1")
    saved = question | {"penalty": None if penalty is None else penalty.final_value}  # sae-lens saves its step alone
    (work / (name + ".tmp") / QUESTION).write_text(json.dumps(saved))
    (work / (name + ".tmp")).rename(work / name)
    for old in work.glob("step*"):
        if old.name != name:
            _drop(old)


def _drop(folder: Path) -> None:
    """Remove a save; first what says which question it answers, so that half of it is never gone on from."""
    (folder / QUESTION).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _resume(trainer: Any, work: Path, question: dict[str, Any]) -> None:
    """Go on from the save in the work folder, if it answers the same question; others are dropped."""
    from safetensors.torch import load_file

    for folder in sorted(work.glob("step*"), key=lambda p: p.stat().st_mtime):
        asked = json.loads((folder / QUESTION).read_text()) if (folder / QUESTION).is_file() else {}
        penalty = asked.pop("penalty", None)
        if folder.suffix == ".tmp" or asked != question:
            shutil.rmtree(folder)
            continue
        # Into the fresh model, not with sae-lens's loader, which rounds the threshold of batchtopk to float32.
        trainer.sae.load_state_dict(load_file(folder / WEIGHTS))
        trainer.load_trainer_state(folder)
        if penalty is not None:
            _set_penalty(trainer, penalty)


__all__ = ["CONFIG", "train_sae"]
