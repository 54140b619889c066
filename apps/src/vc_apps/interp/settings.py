"""What a user can set for `vc interp`. Light to import."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Interp:
    """Say what a fitted model has learnt: sparse features of its activations, what they do to genes when changed, and a page.

    Needs sae-lens: uv pip install 'vc-interp[sae]'.

    For example:
      vc interp st screen.zarr splits.json -o learnt --genesets pathways.gmt
      vc interp biojepa screen.zarr splits.json -o learnt --genesets hallmark.gmt --targets regulons.tsv
    """

    checkpoint: tyro.conf.Positional[Path]
    """A checkpoint of st, biojepa or anchored."""
    screen: tyro.conf.Positional[Path]
    """The screen-v1 file; only its control cells are read."""
    splits: tyro.conf.Positional[Path]
    """The splits-v1 file of that screen."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder to write: page.html, the tables in features/, latents, gradient and dictionaries."""
    site: str = ""
    """Which activations; the first site of the model by default (see `vc-model latents --help`)."""
    genesets: Path | None = None
    """Gene sets in GMT form."""
    targets: Path | None = None
    """Table of regulators and their known targets."""
    essential: Path | None = None
    """Names of essential genes, for a probe."""
    cells: int = 64
    """At most so many control cells of each line."""
    features: int = 0
    """Features of the dictionary; 0: twice the width of the site, fewer where there are few rows."""
    k: float = 8.0
    """Active features of a row, on average."""
    passes: float = 0.0
    """Passes over the rows; 0: as many as make 4,000 steps."""
    random_weights: bool = True
    """Also train a dictionary on the same model with random weights, what annotation is compared with."""
    seed: int = 0
    """The one seed of everything; stability is against the next one."""
    overwrite: bool = False
    """Replace an earlier folder."""
    dry_run: bool = False
    """Check the inputs, say what would be written, and write nothing."""
