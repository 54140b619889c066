"""What a user can set for `vc train` and `vc predict`. Light to import, so that `--help` answers at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

Output = Annotated[Path, tyro.conf.arg(aliases=["-o"])]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is trained on, and where the result goes."""

    screen: tyro.conf.Positional[Path]
    """A screen-v1 file."""
    splits: tyro.conf.Positional[Path]
    """The splits-v1 file of that screen; only its training conditions are read."""
    out: Output
    """The checkpoint-v1 folder to write. What is unfinished lies in OUT.train, from where the same command goes on."""
    features: Annotated[Path | None, tyro.conf.arg(aliases=["--bank"])] = None
    """A features-v1 bank of the targets, e.g. gene sets."""
    seed: int = 0
    """The one seed of everything."""
    overwrite: bool = False
    """Replace an earlier checkpoint at --out."""
    dry_run: bool = False
    """Check the inputs, say what would be trained, and write nothing."""


@dataclass(frozen=True, kw_only=True)
class Anchored(Source):
    """Fit the anchored model: a Gaussian process over conditions. The same as `vc fit SCREEN --split SPLITS`.

    For example:
      vc train anchored screen.zarr splits.json -o anchored --features features.zarr
    """


@dataclass(frozen=True, kw_only=True)
class St(Source):
    """Train the set mapper: a set of control cells and a perturbation in, a set of perturbed cells out (STATE's kind).

    Ctrl-C or a crash loses what came after the last save; the same command goes on.

    For example:
      vc train st screen.zarr splits.json -o st --features features.zarr --anchor anchored
      vc train st screen.zarr splits.json -o st --preset state --steps 40000 --rate 1e-4
    """

    preset: Literal["tiny", "replogle", "state_sm", "state", "state_lg"] = "tiny"
    """Size; all but tiny are published ones, and the state ones need an accelerator."""
    steps: int = 2000
    """Updates."""
    rate: float = 1e-3
    """Highest learning rate; 1e-4 is the published one of the large sizes."""
    loss: Literal["energy", "pseudobulk", "delta_l1"] = "energy"
    """Distance between predicted and measured sets."""
    anchor: Path | None = None
    """A checkpoint whose means the mapper starts from, fitted on the same split; it then only learns what the set adds."""
    per_condition: int = 256
    """Cells of each condition that are read."""


@dataclass(frozen=True, kw_only=True)
class BioJepa(Source):
    """Train BioJEPA through all four stages: masked pretraining, alignment, action-conditioned training, decoder.

    Alignment needs --sequences and is left out without. Ctrl-C saves; the same command goes on.

    For example:
      vc train biojepa screen.zarr splits.json -o model --features features.zarr
      vc train biojepa screen.zarr splits.json -o model --preset tiny --ac-steps 50
      vc train biojepa screen.zarr splits.json -o model --preset v0.6 --faithful --sequences guides.zarr --targets esm2.zarr
      vc train biojepa screen.zarr splits.json -o model --data 4 --gene 2
      vc train biojepa screen.zarr splits.json -o model --data 16 --coordinator node0:9000 --processes 2 --process 1
    """

    preset: Literal["tiny", "small", "v0.6", "v1.0"] = "small"
    """Size of model and run; v0.6 and v1.0 are the published ones and need an accelerator."""
    faithful: bool = False
    """The published behaviour with its known faults, instead of the repaired one."""
    objective: Literal["conditions", "pairs"] | None = None
    """What action stage and decoder learn from: means over the cells of conditions (default), or random pairs of cells, as
    published (default with --faithful)."""
    base: Literal["anchored", "none"] = "anchored"
    """With conditions: the model whose prediction is the start. What BioJEPA adds passes a gate that held-out targets choose."""
    folds: int = 3
    """With conditions: hold-outs of targets that choose the gate; each trains the last two stages once more."""
    sequences: Path | None = None
    """A features-v1 bank of guide, protein or compound vectors, one per target: the sequence path."""
    targets: Path | None = None
    """A features-v1 bank of target vectors, e.g. ESM-2. Without it a target is described by its co-expression in control
    cells, its response to training perturbations, its control mean and --features."""
    pretrain_steps: int | None = None
    """Updates of masked pretraining; default: the preset's."""
    align_steps: int | None = None
    """Updates of alignment."""
    ac_steps: int | None = None
    """Updates of action-conditioned training."""
    decode_steps: int | None = None
    """Updates of the decoder."""
    batch: int | None = None
    """Cells (pairs, actions) of an update, over all devices; default: the preset's."""
    data: int = 1
    """Devices that share a batch."""
    fsdp: int = 1
    """Devices that share a batch and the parameters."""
    gene: int = 1
    """Devices that share the genes of each cell."""
    coordinator: str | None = None
    """HOST:PORT of process 0, in a job of several processes; all run the same command and see the same files."""
    processes: int = 1
    """Processes of the job; their devices together are those of data x fsdp x gene."""
    process: int = 0
    """Which of them this one is; process 0 writes the checkpoint."""
    save_every: int = 200
    """Updates between saves."""
    log_every: int = 20
    """Updates between lines of the metrics file."""
    tracker: str | None = None
    """`wandb` to send metrics there too; it has to be installed."""


@dataclass(frozen=True, kw_only=True)
class Stage(BioJepa):
    """One stage of BioJEPA, from the checkpoint of the stage before it."""

    start: Path | None = None
    """Checkpoint to go on from; its architecture, targets and genes are kept."""


@dataclass(frozen=True, kw_only=True)
class Pretrain(Stage):
    """Stage 1 of BioJEPA: masked pretraining of the encoder on training and control cells.

    For example:
      vc train biojepa-pretrain screen.zarr splits.json -o pretrained
    """


@dataclass(frozen=True, kw_only=True)
class Align(Stage):
    """Stage 2 of BioJEPA: alignment of sequence and target vectors.

    For example:
      vc train biojepa-align screen.zarr splits.json -o aligned --start pretrained
    """


@dataclass(frozen=True, kw_only=True)
class ActionConditioned(Stage):
    """Stage 3 of BioJEPA: the predictor of a perturbed cell's latents.

    For example:
      vc train biojepa-ac screen.zarr splits.json -o predictor --start aligned
    """


@dataclass(frozen=True, kw_only=True)
class Decode(Stage):
    """Stage 4 of BioJEPA: the decoder from latents to expression; after it the model predicts.

    For example:
      vc train biojepa-decode screen.zarr splits.json -o model --start predictor
    """


Recipe = (
    Annotated[Anchored, tyro.conf.subcommand("anchored")]
    | Annotated[St, tyro.conf.subcommand("st")]
    | Annotated[BioJepa, tyro.conf.subcommand("biojepa")]
    | Annotated[Pretrain, tyro.conf.subcommand("biojepa-pretrain")]
    | Annotated[Align, tyro.conf.subcommand("biojepa-align")]
    | Annotated[ActionConditioned, tyro.conf.subcommand("biojepa-ac")]
    | Annotated[Decode, tyro.conf.subcommand("biojepa-decode")]
)


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a model on the training conditions of a split and write a checkpoint.

    For example:
      vc train anchored screen.zarr splits.json -o anchored --features features.zarr
      vc train biojepa screen.zarr splits.json -o biojepa --features features.zarr
    """

    recipe: tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[Recipe]]
    """What to train."""
