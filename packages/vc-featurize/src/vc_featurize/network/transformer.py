"""Encoder `transformer`: mean of the last hidden states of any transformers or sentence-transformers checkpoint.

The specialised encoders (ESM-2, ESM C, Nucleotide Transformer, ChemMRL) are this one with their own cleaning, lengths
and checks. Sums are taken in float32 whatever the network computes in; a batch that comes back with values that are not
finite from half precision is computed again in float32, and the bank says so.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vc_featurize.errors import InputError
from vc_featurize.network.rules import (
    Weights,
    check_architecture,
    read_config,
    remote_class,
    resolve_folder,
    weights_hash,
)

DTYPES = ("float32", "bfloat16", "float16")
Cleaner = Callable[[str], tuple[str | None, str]]


def clean_text(text: str) -> tuple[str | None, str]:
    """Text as given, without white space at its ends; nothing else is changed."""
    stripped = text.strip()
    return (stripped, "") if stripped else (None, "empty text")


class TransformerEncoder:
    """A network of transformers as an encoder of sequences; see `vc_featurize.run.encoder.SequenceEncoder`."""

    def __init__(
        self,
        weights: Weights,
        *,
        architectures: tuple[str, ...] = (),
        clean: Cleaner = clean_text,
        window: int | None = None,
        overlap: int = 0,
        pad_to: int | None = None,
        pad_text: str = "",
        normalise: bool = False,
        dim: int | None = None,
        dtype: str = "float32",
        device: str = "auto",
        licence: str = "unstated",
    ) -> None:
        """Load tokenizer and network.

        Args:
            weights: Where they are and under which rules they are loaded.
            architectures: `model_type`s that are taken; any by default.
            clean: What counts as a text and how it is cleaned.
            window: Characters per window of a longer text; windows are averaged by the characters they add.
            overlap: Characters that neighbouring windows share.
            pad_to: Fixed length every text is padded to with `pad_text` (networks that do not mask padding); only the
                text's own positions are averaged.
            pad_text: The character of that padding.
            normalise: Scale vectors to length one.
            dim: Keep the first dimensions only (Matryoshka weights), before scaling.
            dtype: What the network computes in.
            device: `cpu`, `cuda`, or `auto`.
            licence: Licence of the weights, recorded in the bank.

        Raises:
            InputError: If the extra is not installed, or the rules refuse the weights.
        """
        try:
            import torch
            import transformers
        except ImportError as error:
            raise InputError("network encoders need torch and transformers: install `vc-featurize[torch]`.") from error
        if dtype not in DTYPES:
            raise InputError(f"dtype: expected one of {list(DTYPES)}, found {dtype!r}.")
        folder = resolve_folder(weights)
        config = read_config(folder)
        check_architecture(folder, config, architectures)
        own_code = remote_class(folder, config, weights)
        options = {"local_files_only": True, "trust_remote_code": own_code is not None}
        auto = getattr(transformers, own_code or "AutoModel")
        extra = {"add_pooling_layer": False} if config.get("model_type") in ("esm", "albert", "bert", "roberta") else {}
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, **options)
            self._model = auto.from_pretrained(folder, use_safetensors=True, **options, **extra).eval()
        except (ValueError, OSError, KeyError, RuntimeError) as error:
            raise InputError(f"{folder}: transformers {transformers.__version__} cannot load it: {error}") from error
        self._device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._model.to(self._device)
        self._dtype, self._clean, self._normalise = dtype, clean, normalise
        self._window, self._overlap = window, overlap
        self._pad_to, self._pad_text = pad_to, pad_text
        full = int(self._model.config.hidden_size)
        if dim is not None and not 1 <= dim <= full:
            raise InputError(f"dim: expected 1 to {full}, the width of the network, found {dim}.")
        self.dim = dim or full
        self.fallbacks = 0
        self._identity = {
            "id": weights.path.rstrip("/").split("/")[-1] if folder == folder.__class__(weights.path) else weights.path,
            "revision": weights.revision or weights_hash(folder),
            "weights_sha256": weights_hash(folder),
            "code_revision": weights.code,
            "model_type": config.get("model_type", ""),
            "pooling": "mean of the last hidden states without special tokens" + (", length one" if normalise else ""),
            "window": f"{window or 'none'}, overlap {overlap}",
            "padding": f"{pad_text!r} to {pad_to}" if pad_to else "masked",
            "dtype": dtype,
            "licence": licence,
        }

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the numbers."""
        return self._identity

    def prepare(self, text: str) -> tuple[str | None, str]:
        """The cleaned text; one longer than a fixed padding is refused."""
        cleaned, note = self._clean(text)
        if cleaned is not None and self._pad_to and len(cleaned) > self._pad_to:
            return None, f"longer than the fixed length {self._pad_to}"
        return cleaned, note

    def length(self, text: str) -> int:
        """Tokens, bounded from above by characters; a fixed length where there is one."""
        return self._pad_to or min(len(text), self._window or len(text)) + 2

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """`[n, dim]`, mean over windows weighted by their length."""
        from vc_featurize.protein.sequences import windows

        pieces, owner, share = [], [], []
        for row, text in enumerate(texts):
            for _, piece in windows(text, self._window, self._overlap) if self._window else [(0, text)]:
                pieces.append(piece)
                owner.append(row)
                share.append(len(piece))
        vectors = self._pooled(pieces)
        out = np.zeros((len(texts), vectors.shape[1]))
        total = np.zeros(len(texts))
        np.add.at(out, owner, vectors * np.array(share)[:, None])
        np.add.at(total, owner, share)
        out = (out / total[:, None])[:, : self.dim]
        if self._normalise:
            out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
        return out.astype(np.float32)

    def _pooled(self, texts: list[str]) -> np.ndarray:
        """Mean hidden states; once more in float32 where half precision gave values that are not finite."""
        vectors = self._forward(texts, self._dtype)
        if self._dtype != "float32" and not np.isfinite(vectors).all():
            self.fallbacks += 1
            self._identity["note"] = "batches that were not finite in half precision were computed in float32"
            vectors = self._forward(texts, "float32")
        return vectors

    def _forward(self, texts: list[str], dtype: str) -> np.ndarray:
        import torch

        padded = [text.ljust(self._pad_to, self._pad_text) for text in texts] if self._pad_to else texts
        batch = self._tokenizer(
            padded,
            return_tensors="pt",
            padding=True,
            add_special_tokens=not self._pad_to,
        )
        # Not the tokenizer's own mask of special tokens: EsmTokenizer counts an end that NT v2 does not have.
        special = set(self._tokenizer.all_special_ids) - {self._tokenizer.unk_token_id}
        keep = batch["attention_mask"] * ~torch.isin(
            batch["input_ids"], torch.tensor(sorted(special), dtype=torch.long)
        )
        if self._pad_to:
            keep = (torch.arange(keep.shape[1])[None] < torch.tensor([len(text) for text in texts])[:, None]).long()
        names = ("input_ids", "attention_mask")
        inputs = {name: batch[name].to(self._device) for name in names}
        half = dtype != "float32"
        with torch.inference_mode(), torch.autocast(self._device, getattr(torch, dtype), enabled=half):
            hidden = self._model(**inputs)
        states = hidden.last_hidden_state if hasattr(hidden, "last_hidden_state") else hidden.hidden_states[-1]
        weight = keep.to(states.device).float()[..., None]
        pooled = (states.float() * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
        return pooled.cpu().numpy()
