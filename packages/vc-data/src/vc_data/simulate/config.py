"""What can be chosen about a simulated screen, and the sizes and difficulties that are named.

Everything here is data; the mechanism is in `network.py` and `effects.py`, the cells in `cells.py`.
"""

from dataclasses import dataclass
from typing import Any, Literal

from vc_data.errors import VcDataError

MODES = ("CRISPRi", "CRISPRa", "CRISPRko")
"""Genetic modes a single or a pair can use; inhibitors are asked for with `n_drugs`."""


class SimulatorError(VcDataError):
    """A simulator setting that cannot be carried out, or an unknown preset."""


@dataclass(frozen=True, kw_only=True)
class Difficulty:
    """How much of a perturbation's effect can be guessed from what is known about other perturbations."""

    coherence: float
    """Share of a regulator's squared downstream weights that follows the template of its pathway; the rest is its own."""
    line_divergence: float
    """Log standard deviation of the strength of a pathway-to-pathway influence between cell lines."""
    interaction: float
    """Size of a gate coefficient relative to the edges it combines."""
    prior_missing: float
    """Share of true pathway members left out of the written gene sets."""
    prior_false: float
    """Share of a written gene set that does not belong there."""


DIFFICULTIES: dict[str, Difficulty] = {
    "easy": Difficulty(coherence=0.95, line_divergence=0.2, interaction=0.8, prior_missing=0.15, prior_false=0.05),
    "medium": Difficulty(coherence=0.85, line_divergence=0.45, interaction=2.0, prior_missing=0.3, prior_false=0.15),
    "hard": Difficulty(coherence=0.6, line_divergence=0.8, interaction=3.5, prior_missing=0.5, prior_false=0.3),
}


@dataclass(frozen=True, kw_only=True)
class SimulatorConfig:
    """A simulated screen: its size, its biology and its sequencing. Vary a preset with `dataclasses.replace`."""

    n_genes: int = 2000
    """Measured genes; they are the whole transcriptome of the simulated cell."""
    n_pathways: int = 40
    """Pathways the genes are organised in; a gene can be in several or in none."""
    cell_lines: tuple[str, ...] = ("LineA", "LineB")
    """Names of the cell lines; each has its own basal program and its own variant of the network."""
    n_singles: int = 150
    """Genes perturbed one at a time, in every cell line."""
    n_pairs: int = 30
    """Pairs of those genes perturbed together, in every cell line."""
    modes: tuple[Literal["CRISPRi", "CRISPRa", "CRISPRko"], ...] = ("CRISPRi",)
    """Genetic modes; targets are dealt out to them in turn, so a gene has one mode."""
    n_drugs: int = 0
    """Inhibitors; each binds a main target and up to two weaker off-targets."""
    doses: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0)
    """Doses of every drug in uM; where there are several, truth names a condition `NAME@DOSE`, as vc-data convert does."""
    cells_per_condition: int = 60
    """Expected cells of a condition and cell line whose perturbation costs no viability."""
    controls_per_line: int = 1200
    """Control cells of each cell line."""
    abundance_log_sd: float = 0.4
    """Log standard deviation of the number of cells between conditions (guide representation)."""
    n_batches: int = 4
    """Batches of each cell line; every condition is spread over all of them."""
    batch_log_sd: float = 0.06
    """Log standard deviation of a gene's expression between batches."""
    depth_median: float = 15_000.0
    """Median UMIs of a cell."""
    depth_log_sd: float = 0.45
    """Log standard deviation of UMIs between cells."""
    basal_log_sd: float = 2.0
    """Log standard deviation of mean expression between expressed genes."""
    housekeeping_share: float = 0.6
    """Share of UMIs that the housekeeping genes take (5 % of genes, at most 150), as ribosomal genes do; the other genes
    of a small simulated transcriptome are then as sparse as in a whole one."""
    silent_share: float = 0.1
    """Share of genes that are hardly expressed in a cell line."""
    dispersion: float = 0.07
    """Negative-binomial dispersion of a highly expressed gene beyond the cell states; variance = mean + a * mean^2."""
    dispersion_over_mean: float = 0.1
    """Adds this over the gene's mean count at median depth to its dispersion."""
    state_log_sd: float = 0.35
    """Median log standard deviation of a gene between cells through cycle and pathway activity."""
    effect_scale: float = 0.45
    """Typical weight of a network edge: log fold change of the target per log change of the regulator's activity."""
    silent_target_share: float = 0.25
    """Share of perturbed genes that regulate nothing; perturbing them changes little but themselves."""
    shift_scale: float = 0.015
    """Size of the shift that every perturbed cell has against controls, whatever was perturbed (log fold change)."""
    stress_scale: float = 0.5
    """Size of the stress program (log fold change of its genes at a viability of 1/e)."""
    escape_share: float = 0.08
    """Mean share of cells in which a target's perturbation does nothing; guides of a pair fail independently."""
    difficulty: Literal["easy", "medium", "hard"] = "medium"
    """Named `Difficulty`: coherence of pathways, divergence of lines, interactions, quality of the gene sets."""
    block_cells: int = 256
    """Cells made at a time; bounds memory and is part of what the seed determines."""

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated, naming the field.

        Raises:
            SimulatorError: If a field is out of its range or the fields contradict each other.
        """
        _require(self.n_genes >= 50, "n_genes", ">= 50", self.n_genes)
        _require(2 <= self.n_pathways <= self.n_genes // 4, "n_pathways", "2 .. n_genes / 4", self.n_pathways)
        _require(len(self.cell_lines) >= 1, "cell_lines", "at least one name", self.cell_lines)
        _require(len(set(self.cell_lines)) == len(self.cell_lines), "cell_lines", "distinct names", self.cell_lines)
        _require(1 <= self.n_singles <= self.n_genes // 4, "n_singles", "1 .. n_genes / 4", self.n_singles)
        _require(len(self.modes) >= 1 and set(self.modes) <= set(MODES), "modes", f"some of {MODES}", self.modes)
        per_mode = [len(range(i, self.n_singles, len(self.modes))) for i in range(len(self.modes))]
        most = sum(n * (n - 1) // 2 for n in per_mode)
        _require(0 <= self.n_pairs <= most, "n_pairs", f"0 .. {most} (pairs of singles of one mode)", self.n_pairs)
        _require(0 <= self.n_drugs <= self.n_genes // 4, "n_drugs", "0 .. n_genes / 4", self.n_drugs)
        _require(self.n_drugs == 0 or len(self.doses) > 0, "doses", "at least one for the drugs", self.doses)
        _require(all(d > 0 for d in self.doses), "doses", "positive numbers (uM)", self.doses)
        for name in ("cells_per_condition", "controls_per_line", "n_batches", "block_cells"):
            _require(getattr(self, name) >= 1, name, ">= 1", getattr(self, name))
        for name in ("depth_median", "dispersion"):
            _require(getattr(self, name) > 0, name, "> 0", getattr(self, name))
        for name in ("dispersion_over_mean", "state_log_sd", "batch_log_sd", "depth_log_sd", "basal_log_sd"):
            _require(getattr(self, name) >= 0, name, ">= 0", getattr(self, name))
        for name in ("housekeeping_share", "silent_share", "silent_target_share", "escape_share"):
            _require(0 <= getattr(self, name) < 1, name, "in [0, 1)", getattr(self, name))
        _require(self.difficulty in DIFFICULTIES, "difficulty", f"one of {tuple(DIFFICULTIES)}", self.difficulty)


def _require(ok: bool, field: str, expected: str, found: Any) -> None:
    if not ok:
        raise SimulatorError("SimulatorConfig", field, expected, repr(found), "Change this setting.")


PRESETS: dict[str, SimulatorConfig] = {
    "tiny": SimulatorConfig(
        n_genes=200, n_pathways=6, n_singles=24, n_pairs=6, cells_per_condition=30, controls_per_line=120, n_batches=2,
        depth_median=3000.0,
    ),
    "small": SimulatorConfig(),
    "thousand": SimulatorConfig(
        n_genes=4000, n_pathways=80, n_singles=1000, n_pairs=200, cells_per_condition=25, controls_per_line=2000,
        depth_median=8000.0,
    ),
    "vcc": SimulatorConfig(
        n_genes=18_080, n_pathways=120, cell_lines=("H1sim",), n_singles=150, n_pairs=0, cells_per_condition=1440,
        controls_per_line=38_176, n_batches=48, abundance_log_sd=0.6, basal_log_sd=1.5, housekeeping_share=0.2,
        silent_share=0.02, depth_median=54_000.0, depth_log_sd=0.35,
    ),
}  # fmt: skip
"""Named sizes: `tiny` for tests, `small` for the quickstart, `thousand` perturbations for comparisons with power, `vcc` with
the shape of the 2025 challenge's training file."""
