"""A trained dictionary as sae-lens saves it (`cfg.json`, `sae_weights.safetensors`), read and used with numpy alone.

    f(x) = act((x - b_dec) W_enc + b_enc),   x' = f(x) W_dec + b_dec

act is ReLU (standard), ReLU of the k largest (topk), or ReLU above a threshold of each feature (jumprelu, which a batchtopk is
saved as: Bussmann et al., BatchTopK Sparse Autoencoders, 2024; Rajamanoharan et al., JumpReLU, 2024; Gao et al., 2024).
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vc_interp.errors import InputError

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
RECORD = "vc_interp.json"
KNOWN = ("standard", "topk", "jumprelu")


@dataclass(frozen=True, eq=False)
class Dictionary:
    """f features of activations of width d.

    Attributes:
        architecture: `standard`, `topk` or `jumprelu`.
        enc_df: [d, f] encoder.
        enc_f: [f] its bias.
        dec_fd: [f, d] decoder; row f is the direction of feature f.
        dec_d: [d] its bias.
        threshold_f: [f] of jumprelu, else zeros.
        k: Of topk.
        centred: Whether the decoder's bias is taken off before encoding.
        record: What vc-interp wrote beside it: site, model, settings, measures.
    """

    architecture: str
    enc_df: np.ndarray
    enc_f: np.ndarray
    dec_fd: np.ndarray
    dec_d: np.ndarray
    threshold_f: np.ndarray
    k: int = 0
    centred: bool = True
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def n_features(self) -> int:
        """F."""
        return self.dec_fd.shape[0]

    @property
    def width(self) -> int:
        """D."""
        return self.dec_fd.shape[1]

    @property
    def names(self) -> tuple[str, ...]:
        """`f0`, `f1`, ..."""
        return tuple(f"f{at}" for at in range(self.n_features))

    def encode(self, x_nd: np.ndarray) -> np.ndarray:
        """[n, f] float32 activations of the features, >= 0."""
        pre_nf = (x_nd - self.dec_d if self.centred else x_nd) @ self.enc_df + self.enc_f
        if self.architecture == "topk" and self.k < self.n_features:
            place = np.argpartition(pre_nf, -self.k, axis=1)[:, -self.k :]
            kept_nf = np.zeros_like(pre_nf)
            np.put_along_axis(kept_nf, place, np.take_along_axis(pre_nf, place, axis=1), axis=1)
            pre_nf = kept_nf
        out_nf = np.maximum(pre_nf, 0)
        return np.where(pre_nf > self.threshold_f, out_nf, 0) if self.architecture == "jumprelu" else out_nf

    def decode(self, f_nf: np.ndarray) -> np.ndarray:
        """[n, d] float32 reconstruction."""
        return f_nf @ self.dec_fd + self.dec_d


def read_dictionary(path: str | Path) -> Dictionary:
    """Read a folder of sae-lens, ours or another's.

    Raises:
        InputError: If a file is missing or unreadable, the architecture is not one of `KNOWN`, or shapes do not agree.
    """
    from safetensors.numpy import load_file

    path = Path(path)
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise InputError(
                f"{path}: expected a folder with {CONFIG} and {WEIGHTS} as sae-lens saves it; found no {name}. "
                "Make one with `vc-interp sae`."
            )
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        weights = {name: np.asarray(value, np.float32) for name, value in load_file(path / WEIGHTS).items()}
        record = json.loads((path / RECORD).read_text(encoding="utf-8")) if (path / RECORD).is_file() else {}
    except Exception as error:  # safetensors raises a type of its own
        raise InputError(
            f"{path}: expected a dictionary of sae-lens; found files that cannot be read ({error})."
        ) from error
    return _make(path, config, weights, record)


def _make(path: Path, config: Any, weights: dict[str, np.ndarray], record: Any) -> Dictionary:
    if not isinstance(config, dict) or config.get("architecture") not in KNOWN:
        found = config.get("architecture") if isinstance(config, dict) else type(config).__name__
        raise InputError(
            f"{path}/{CONFIG}: architecture: expected one of {list(KNOWN)}, found {found!r}. Save it with sae-lens's "
            "save_inference_model."
        )
    if config.get("normalize_activations", "none") != "none":
        raise InputError(
            f"{path}/{CONFIG}: normalize_activations: expected none (folded into the weights), found "
            f"{config['normalize_activations']!r}."
        )
    missing = [name for name in ("W_enc", "b_enc", "W_dec", "b_dec") if name not in weights]
    n_features = weights["W_dec"].shape[0] if not missing else 0
    width = weights["W_dec"].shape[1] if not missing and weights["W_dec"].ndim == 2 else 0
    shapes = {"W_enc": (width, n_features), "b_enc": (n_features,), "b_dec": (width,), "threshold": (n_features,)}
    wrong = [name for name, shape in shapes.items() if name in weights and weights[name].shape != shape]
    if missing or wrong or not all(np.isfinite(value).all() for value in weights.values()):
        raise InputError(
            f"{path}/{WEIGHTS}: expected finite weights whose shapes agree; found {missing or wrong or 'NaN'}."
        )
    return Dictionary(
        config["architecture"],
        weights["W_enc"],
        weights["b_enc"],
        weights["W_dec"],
        weights["b_dec"],
        weights.get("threshold", np.zeros(n_features, np.float32)),
        int(config.get("k", 0) or 0),
        bool(config.get("apply_b_dec_to_input", True)),
        record if isinstance(record, dict) else {},
    )
