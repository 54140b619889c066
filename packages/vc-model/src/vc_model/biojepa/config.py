"""Choices of BioJEPA, and its number of parameters in closed form.

`faithful=True` is the published model with every known fault; the default repairs them (`docs/decisions/0004-biojepa-repairs.md`
lists fault and repair side by side). The shapes are the same in both. `version` says which published model: v0.6, or v1.0,
which mended some of the faults itself and has a narrower predictor.
"""

from dataclasses import dataclass, replace
from typing import Literal, Self

from vc_model.stored import stored

MODALITIES = ("dna", "protein", "chemical")
STAGES = ("pretrain", "align", "ac", "decode")

Fusion = Literal["sum", "concat_mlp"]
Objective = Literal["conditions", "pairs"]
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
    """Blocks of the encoder and, unless `predictor_layers` says otherwise, of the predictor."""
    predictor_width: int | None = None
    """Width inside the predictor, with a projection of the latents in front; None: D, without one."""
    predictor_layers: int | None = None
    """Blocks of the predictor; None: `n_layers`."""
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
    version: Literal["0.6", "1.0"] = "0.6"
    """Published model whose parts these are. v1.0: a token for unmeasured genes, the identity of a gene always added, the
    teacher read everywhere, a network for the dose, a mean over action slots instead of attention pooling."""
    faithful: bool = False
    """The published behaviour with its faults, or the repaired one."""
    objective: Objective = "conditions"
    """What the last two stages learn from: means over the cells of a condition, or random pairs of a perturbed and a control
    cell, as published. A faithful model always learns from pairs."""
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
    """Last share of the action stage in which the mask ratio falls to its floor: 0.1 in the published v0.6, else 0."""
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
    """Published v0.6 only: the most genes that a cell expresses. The others are equal tokens (Q2), and so are masked ones
    (Q1), and go through the blocks once; every number is the same to rounding. None: every gene goes through."""

    def __post_init__(self) -> None:
        if self.room is not None and not (self.has_equal_tokens and 0 < self.room <= self.n_genes):
            raise ValueError(
                f"BioJepaConfig: expected room between 1 and n_genes {self.n_genes} of a faithful v0.6 (in other forms no two "
                f"tokens are equal), found {self.room} with faithful={self.faithful}. Leave it out, or give the most genes "
                "that a cell expresses."
            )
        if self.width % self.n_heads or self.width % 2 or self.action_width % self.pool_heads:
            raise ValueError(
                f"BioJepaConfig: expected an even width divisible by n_heads and an action_width divisible by "
                f"pool_heads, found width {self.width}, n_heads {self.n_heads}, action_width {self.action_width}, "
                f"pool_heads {self.pool_heads}. Change the widths or the heads."
            )
        if self.predictor_width is not None and self.predictor_width % self.n_heads:
            raise ValueError(
                f"BioJepaConfig: expected a predictor_width divisible by n_heads, found {self.predictor_width} and "
                f"{self.n_heads}. Change the width or the heads."
            )

    def for_cells(self, most_expressed: int) -> Self:
        """The same model with room for cells that express up to so many genes, in steps of a sixteenth of all genes.

        Repaired, or where nearly all genes are expressed, the model as it is.
        """
        step = -(-self.n_genes // 16)
        room = -(-max(1, most_expressed) // step) * step
        return replace(self, room=room) if self.has_equal_tokens and room + 2 < self.n_genes else self

    @property
    def by_condition(self) -> bool:
        """Whether the last two stages learn from conditions."""
        return self.objective == "conditions" and not self.faithful

    @property
    def has_equal_tokens(self) -> bool:
        """Whether genes that are not expressed, or are masked, lose their identity (Q1, Q2): the published v0.6."""
        return self.faithful and self.version == "0.6"

    @property
    def knows_unmeasured(self) -> bool:
        """Whether unmeasured genes have a token of their own and stay outside the losses (Q7); not so in the published v0.6."""
        return not self.has_equal_tokens

    @property
    def reader(self) -> Literal["student", "teacher"]:
        """Which encoder reads control cells: in the published v0.6 the student, else the teacher (Q8)."""
        return "student" if self.has_equal_tokens else "teacher"

    @property
    def of_predictor(self) -> Self:
        """The same choices with the predictor's width and number of blocks for D and `n_layers`."""
        width, n_layers = self.predictor_width or self.width, self.predictor_layers or self.n_layers
        return replace(self, width=width, n_layers=n_layers, predictor_width=None, predictor_layers=None)

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
    def v1_0(cls, n_genes: int = 10_000, *, faithful: bool = True, **changes) -> Self:
        """The published v1.0 run; `faithful=False` gives the repaired model of the same shape.

        Shapes follow from the published counts at 10,000 genes, which they give exactly: encoder 7,979,650 (v0.6, a token
        for unmeasured genes, and the frozen Fourier frequencies, which that count includes), predictor 2,565,760 (width 128,
        4 blocks, projections from and to 256), composer 444,224 (A 128, no attention pooling, a network 1 -> A -> A of the
        dose).
        """
        published = cls(
            n_genes=n_genes,
            version="1.0",
            faithful=faithful,
            predictor_width=128,
            predictor_layers=4,
            action_width=128,
            fourier_scale=5.699,
            film_multiple=0.6769,
            sim=50.18,
            std=25.44,
            cov=0.5158,
            beta_nll=0.2,
        )
        return replace(published, **changes)

    @classmethod
    def tiny(cls, n_genes: int = 64, **changes) -> Self:
        """Small enough for tests on one core."""
        tiny = cls(
            n_genes=n_genes, width=32, n_layers=2, n_mask_layers=1, action_width=48, mode_width=8,
            modality_widths=(24, 16, 20), target_width=16,
        )  # fmt: skip
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
    """Trainable parameters of every part as published: without the teacher, and the Fourier frequencies in v1.0 only.

    The repaired model has more: a token for unmeasured genes, a direction of expression, a dose gate, a bilinear term of gene
    and action, and a decoder with a row per gene.
    """
    d, f, g = cfg.width, cfg.hidden, cfg.n_genes
    later, repaired = cfg.version == "1.0", not cfg.faithful
    block = 2 * d + 5 * (d * d + d) + 3 * d * f
    encoder = g * d + 2 + (d * d + d) + (2 * d * d + 2 * d) + d + 2 * d + cfg.n_layers * block + d
    return {
        "encoder": encoder + cfg.knows_unmeasured * d + repaired * d + later * (d // 2),
        "maskpred": cfg.n_mask_layers * block + d + d * d + d,
        "predictor": _count_predictor(cfg),
        "composer": _count_composer(cfg),
        "decoder": d + 1 + repaired * g * d,
    }


def _count_predictor(cfg: BioJepaConfig) -> int:
    inner, d, g, a, repaired = cfg.of_predictor, cfg.width, cfg.n_genes, cfg.action_width, not cfg.faithful
    p, f = inner.width, inner.hidden
    block = 3 * p + 10 * (p * p + p) + 3 * p * f
    enter = 0 if cfg.predictor_width is None else d * p + p
    leave = 2 * (p * d + d) + repaired * (g * p + p * p + p * d)
    return (a * p + p) + p + (p * p + p) + enter + g * p + inner.n_layers * block + p + leave


def _count_composer(cfg: BioJepaConfig) -> int:
    a, m, later = cfg.action_width, cfg.mode_width, cfg.version == "1.0"
    count = sum(width * a + a for width in (*cfg.modality_widths, cfg.target_width))
    count += a + cfg.n_modes * m + 2 * (m * a + a) + cfg.learnable_tau
    if cfg.fusion == "concat_mlp":
        count += (4 * a * a + 2 * a) + (2 * a * a + a)
    pool, dose = a + 4 * (a * a + a), 2 * a + (a * a + a)
    return count + (dose if later else pool + 2 * (not cfg.faithful))
