"""Choices of BioJEPA, and its number of parameters in closed form.

`faithful=True` is the published v0.6 with every known fault; the default repairs them (`docs/decisions/0004-biojepa-repairs.md`
lists fault and repair side by side). The shapes are the same in both.
"""

from dataclasses import dataclass, replace
from typing import Literal, Self

from vc_model.stored import stored

MODALITIES = ("dna", "protein", "chemical")
STAGES = ("pretrain", "align", "ac", "decode")

Fusion = Literal["sum", "concat_mlp"]
Stage = Literal["pretrain", "align", "ac", "decode"]
Part = Literal["encoder", "maskpred", "predictor", "composer", "decoder"]


@stored
@dataclass(frozen=True, kw_only=True)
class BioJepaConfig:
    """Everything that decides what the model computes."""

    n_genes: int
    """G, genes of the panel."""
    width: int = 256
    """D, latent width."""
    n_layers: int = 6
    """Blocks of the encoder and of the predictor."""
    n_heads: int = 4
    """Heads of the linear attention."""
    mlp_ratio: float = 4.0
    """Sets the hidden width of SwiGLU, see `hidden`."""
    n_mask_layers: int = 2
    """Blocks of the masked predictor."""
    action_width: int = 320
    """A, width of action tokens."""
    pool_heads: int = 4
    """Heads of the attention pooling of action tokens."""
    modality_widths: tuple[int, int, int] = (1536, 320, 1024)
    """Width of guide (dna), protein and chemical embeddings; narrower ones are padded with zeros to the widest."""
    target_width: int = 320
    """Width of the embedding of the targeted protein."""
    n_modes: int = 9
    """Modes of action (`vc_model.table.effects.MODES`)."""
    mode_width: int = 64
    """m, width of mode vectors."""
    faithful: bool = False
    """The published behaviour with its faults, or the repaired one."""
    fusion: Fusion = "sum"
    """How the sequence and target paths join; `sum` is what matches the published count."""
    fusion_dropout: float = 0.15
    """Dropout on each path before the sum."""
    fourier_scale: float = 2.38
    """Standard deviation of the Fourier frequencies."""
    film_multiple: float = 0.81
    """Initial scale of the linear pathway of expression values."""
    mask_ratio: float = 0.766
    """Share of genes hidden during training; repaired pretraining draws a share below it for each update."""
    mask_anneal: float = 0.15
    """Last share of the action stage in which the mask ratio falls to its floor: 0.1 when faithful, else 0."""
    sim: float = 40.5
    """Weight of the prediction term."""
    std: float = 40.5
    """Weight of the variance hinge (faithful)."""
    cov: float = 1.62
    """Weight of the covariance penalty (faithful)."""
    sigreg: float = 1.0
    """Weight of SIGReg on what depth does not say of cell vectors (repaired)."""
    sigreg_directions: int = 256
    """Random directions per step of SIGReg."""
    beta_nll: float = 0.0
    """Variance exponent of the weight of the likelihood; 0 is the plain likelihood."""
    beta_warmup: float = 0.3
    """First share of training in which that exponent rises from 0."""
    tau: float = 0.012
    """Temperature of the alignment."""
    learnable_tau: bool = False
    """Whether the log of the temperature is trained."""
    compute: Literal["float32", "bfloat16"] = "float32"
    """Type of activations; parameters, attention state, normalisers, norms and losses are float32."""
    remat: bool = False
    """Keep only the input of every block for the backward pass instead of its products: a third more work for a fraction of
    the memory."""

    room: int | None = None
    """Faithful only: the most genes that a cell expresses. The others are equal tokens (Q2), and so are masked ones (Q1),
    and go through the blocks once; every number is the same to rounding. None: every gene goes through."""

    def __post_init__(self) -> None:
        if self.room is not None and not (self.faithful and 0 < self.room <= self.n_genes):
            raise ValueError(
                f"BioJepaConfig: expected room between 1 and n_genes {self.n_genes} of a faithful model (repaired, no two "
                f"tokens are equal), found {self.room} with faithful={self.faithful}. Leave it out, or give the most genes "
                "that a cell expresses."
            )
        if self.width % self.n_heads or self.width % 2 or self.action_width % self.pool_heads:
            raise ValueError(
                f"BioJepaConfig: expected an even width divisible by n_heads and an action_width divisible by "
                f"pool_heads, found width {self.width}, n_heads {self.n_heads}, action_width {self.action_width}, "
                f"pool_heads {self.pool_heads}. Change the widths or the heads."
            )

    def for_cells(self, most_expressed: int) -> Self:
        """The same model with room for cells that express up to so many genes, in steps of a sixteenth of all genes.

        Repaired, or where nearly all genes are expressed, the model as it is.
        """
        step = -(-self.n_genes // 16)
        room = -(-max(1, most_expressed) // step) * step
        return replace(self, room=room) if self.faithful and room + 2 < self.n_genes else self

    @property
    def hidden(self) -> int:
        """F, hidden width of SwiGLU: two thirds of ratio * D, rounded to 64, at least 64."""
        return max(64, (int(self.width * self.mlp_ratio * 2 / 3) + 32) // 64 * 64)

    @property
    def seq_width(self) -> int:
        """Width to which sequence embeddings are padded."""
        return max(self.modality_widths)

    @classmethod
    def v0_6(cls, n_genes: int = 10_000, *, faithful: bool = True, **changes) -> Self:
        """The published v0.6 run; `faithful=False` gives the repaired model of the same shape."""
        return replace(cls(n_genes=n_genes, faithful=faithful), **changes)

    @classmethod
    def tiny(cls, n_genes: int = 64, **changes) -> Self:
        """Small enough for tests on one core."""
        tiny = cls(
            n_genes=n_genes,
            width=32,
            n_layers=2,
            n_mask_layers=1,
            action_width=48,
            mode_width=8,
            modality_widths=(24, 16, 20),
            target_width=16,
        )
        return replace(tiny, **changes)


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Hyper-parameters of one training stage; the optimiser is AdamW."""

    epochs: int
    """Passes over the training cells (pairs, actions) of the published run."""
    batch: int
    """Cells (pairs, actions) per step."""
    learning_rates: dict[str, float]
    """Peak rate of each trained part."""
    weight_decay: float = 0.05
    """Of AdamW, on the leaves that `decay_mask` names."""
    clip: float | None = 1.0
    """Largest global norm of the gradient, or None."""
    ema: float | None = None
    """Momentum of the teacher, or None without one."""
    beta2: float = 0.999
    """Second moment's decay."""
    seed: int = 1337
    """Draws weights, masks and data order."""


STAGE_CONFIGS: dict[str, StageConfig] = {
    "pretrain": StageConfig(epochs=50, batch=64, learning_rates={"encoder": 1e-4, "maskpred": 1e-4}, ema=0.995),
    "align": StageConfig(epochs=10_000, batch=64, learning_rates={"composer": 7.6e-4}, weight_decay=0.011, clip=None),
    "ac": StageConfig(epochs=20, batch=32, learning_rates={"predictor": 1e-4, "composer": 1e-5}),
    "decode": StageConfig(epochs=10, batch=32, learning_rates={"decoder": 1e-3}, weight_decay=0.01, clip=None),
}
"""The published run (A9)."""


def param_counts(cfg: BioJepaConfig) -> dict[str, int]:
    """Trainable parameters of every part, without the Fourier frequencies and the teacher.

    The repaired model has more: a token for unmeasured genes, a direction of expression, a dose gate, a bilinear term of gene
    and action, and a decoder with a row per gene.
    """
    d, f, g, a, m = cfg.width, cfg.hidden, cfg.n_genes, cfg.action_width, cfg.mode_width
    attention = 5 * (d * d + d)
    block = 2 * d + attention + 3 * d * f
    block_ac = 3 * d + 2 * attention + 3 * d * f
    encoder = g * d + 2 + (d * d + d) + (2 * d * d + 2 * d) + d + 2 * d + cfg.n_layers * block + d
    composer = sum(width * a + a for width in (*cfg.modality_widths, cfg.target_width))
    composer += a + cfg.n_modes * m + 2 * (m * a + a) + a + 4 * (a * a + a)
    if cfg.fusion == "concat_mlp":
        composer += (4 * a * a + 2 * a) + (2 * a * a + a)
    repaired = not cfg.faithful
    return {
        "encoder": encoder + repaired * 2 * d,
        "maskpred": cfg.n_mask_layers * block + d + d * d + d,
        "predictor": (a * d + d)
        + d
        + (d * d + d)
        + g * d
        + cfg.n_layers * block_ac
        + d
        + 2 * (d * d + d)
        + repaired * (g * d + 2 * d * d),
        "composer": composer + cfg.learnable_tau + 2 * repaired,
        "decoder": d + 1 + repaired * g * d,
    }
