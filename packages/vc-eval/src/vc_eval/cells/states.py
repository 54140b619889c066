"""Whether prediction and truth start from the same unperturbed state: looked at before a score is believed.

The rules of 2025 subtract the controls that come with a prediction, and so do deltas of profiles: controls whose genes are
exchanged, that are cells of a perturbation, or that stand on another scale make a score of nothing. No number is changed
here; what is found stands beside the score and in scores.json.
"""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vc_eval.cells.scale import Scale

if TYPE_CHECKING:
    from vc_eval.cells.ranked import RankedSide

OTHER_DEPTH = 1.25  # control cells of one experiment differ by less
BY_DRAWING = 3.0  # standard deviations of the drawn depth ratio that are no other depth
LOST_VALUES = 20  # a gene of which so much is expected in the predicted controls, and nothing found, is lost
SWAPPED = 0.75  # nearer than this share of the distance to the real controls: taken from a perturbation
MIRRORED = -0.3  # median correlation of predicted and real change below which signs are turned
LIKELY = 1.5  # control means apart by less than so many times what drawing cells explains are no finding, whatever they are near
BEYOND_CHANCE = 1.75  # control means further apart than so many times what drawing cells explains are of other cells
LEAST_SHARE, SURE, FEWEST_EFFECTS = 0.1, 5.0, 6  # a smaller share, or one of fewer standard errors, is not worth a note
SPREAD = 1.0  # sd of the log of cell totals after undoing the log: more than log1p values of one experiment have


@dataclass(frozen=True, kw_only=True)
class ControlState:
    """Predicted controls beside the real ones, on mean profiles."""

    gap: float
    """Root mean square over genes of predicted minus real control."""
    typical_effect: float
    """The same of real perturbed minus real control, median over perturbations, brought to as many cells."""
    correlation: float
    """Pearson over genes of the two control profiles."""
    nearest: str
    """Perturbation whose real profile is much nearer to the predicted controls than the real controls are, or empty."""
    genes_lost: int
    """Genes that the real controls express and no predicted cell does."""
    agreement: float
    """Median over perturbations of the correlation of predicted and real change; below 0 where signs are turned."""
    chance: float = 0.0
    """The gap that drawing so many cells leaves, from the halves of the real cells; 0 where it is not known."""
    towards: str = ""
    """Perturbation towards which the predicted controls are moved by more than drawing cells explains, or empty."""
    share: float = 0.0
    """How far, as a share of its effect."""
    depth_chance: float = 0.0
    """Standard deviation that drawing so many cells gives the logarithm of the ratio of control depths; 0 if not known."""

    def as_dict(self) -> dict[str, Any]:
        """JSON."""
        return asdict(self)

    def notes(self, model: str) -> list[str]:
        """What a reader of the score has to know, one line each."""
        found = []
        beyond = not self.chance or self.gap > LIKELY * self.chance
        if self.nearest and beyond:
            found.append(f"its controls are nearer to the real cells of {self.nearest!r} than to the real controls")
        elif self.gap > self.typical_effect > 0 and beyond:
            found.append(
                f"its controls differ from the real ones by {self.gap:.3g} (root mean square over genes; correlation "
                f"{self.correlation:.2f}), more than a typical perturbation changes cells ({self.typical_effect:.3g})"
            )
        elif self.towards:
            found.append(
                f"its controls are moved towards the real cells of {self.towards!r} by {self.share:.2f} of that effect, as if "
                "some of them were such cells"
            )
        elif self.gap > BEYOND_CHANCE * self.chance > 0:
            found.append(
                f"its controls differ from the real ones by {self.gap:.3g} (root mean square over genes), "
                f"{self.gap / self.chance:.1f} times what drawing cells explains: other cells, or another batch or scale"
            )
        if self.genes_lost:
            found.append(f"{self.genes_lost} genes that the real controls express are zero in every predicted cell")
        if self.agreement < MIRRORED:
            found.append(
                f"predicted changes run against the real ones (median correlation {self.agreement:.2f}), as if signs were turned"
            )
        return [f"note: {model}: {text}." for text in found]


def compare_controls(
    predicted_lg: np.ndarray, real_lg: np.ndarray, labels: list[str], sizes: tuple[np.ndarray, np.ndarray]
) -> ControlState:
    """Compare the unperturbed state of two sides.

    Args:
        predicted_lg: `[p + 1, g]` predicted mean profiles, log1p; the control last.
        real_lg: `[p + 1, g]` real ones.
        labels: `[p]` perturbations.
        sizes: Cells behind each row, predicted and real, `[p + 1]`; 1 for profiles.
    """
    control_p, control_r = predicted_lg[-1], real_lg[-1]
    to_control = _rms(control_p - control_r)
    change_p = _rms(real_lg[:-1] - control_r)
    n_p, n_r = (np.maximum(size.astype(np.float64), 1) for size in sizes)
    noise = np.sqrt((1 / n_p[-1] + 1 / n_r[-1]) / (1 / n_r[:-1] + 1 / n_r[-1]))
    to_real = _rms(control_p - real_lg[:-1])
    nearest = int(np.argmin(to_real)) if to_real.size else 0
    swapped = to_real.size > 0 and to_real[nearest] < SWAPPED * to_control
    expected = control_r * n_p[-1] if n_p[-1] > 1 else control_r * LOST_VALUES * 2
    lost = (expected > LOST_VALUES) & (predicted_lg == 0).all(axis=0)
    return ControlState(
        gap=float(to_control),
        typical_effect=float(np.median(change_p * np.maximum(noise, 1))) if change_p.size else 0.0,
        correlation=_correlation(control_p[None], control_r[None])[0],
        nearest=str(labels[nearest]) if swapped else "",
        genes_lost=int(lost.sum()),
        agreement=_agreement(predicted_lg[:-1] - control_p, real_lg[:-1] - control_r),
    )


def compare_sides(predicted: "RankedSide", real: "RankedSide") -> ControlState:
    """`compare_controls` of two ranked sides."""
    state = compare_controls(predicted.mean_lg, real.mean_lg, real.labels, (predicted.sizes, real.sizes))
    if real.halves is None:
        return state
    first, second = real.halves
    if first.labels != second.labels:
        return state
    towards, share = _find_admixture(predicted, real, (first, second))
    apart_l = np.mean((first.mean_lg - second.mean_lg) ** 2, axis=1) / (1 / first.sizes + 1 / second.sizes)
    chance = float(np.sqrt(np.mean(apart_l) * (1 / predicted.sizes[-1] + 1 / real.sizes[-1])))
    depth_l = np.log(_depths(first.mean_lg) / np.maximum(_depths(second.mean_lg), 1e-12))
    drawn = float(np.sqrt(np.mean(depth_l**2 / (1 / first.sizes + 1 / second.sizes))))
    depth_chance = drawn * float(np.sqrt(1 / predicted.sizes[-1] + 1 / real.sizes[-1]))
    return replace(state, chance=chance, towards=towards, share=share, depth_chance=depth_chance)


def _find_admixture(
    predicted: "RankedSide", real: "RankedSide", halves: "tuple[RankedSide, RankedSide]"
) -> tuple[str, float]:
    """The perturbation whose cells may be among the predicted controls, and their share; ('', 0) where none is.

    The distance of the controls is projected on each real effect. Effect and distance are taken from different halves of the
    real controls, because common noise would look like a share. What drawing cells does along an effect is measured by the
    halves of the other perturbations, which drift apart along the same axes.
    """
    shares, errors = [], []
    if len(halves[0].labels) < FEWEST_EFFECTS:
        return "", 0.0
    for one, other in (halves, halves[::-1]):
        effect_pg = one.mean_lg[:-1] - one.mean_lg[-1]
        norm_p = np.linalg.norm(effect_pg, axis=1)
        along_pg = np.divide(effect_pg, norm_p[:, None], out=np.zeros_like(effect_pg), where=norm_p[:, None] > 0)
        step_p = along_pg @ (predicted.mean_lg[-1] - other.mean_lg[-1])
        drawn_lp = (one.mean_lg - other.mean_lg) @ along_pg.T / np.sqrt(1 / one.sizes + 1 / other.sizes)[:, None]
        drawn_lp[np.arange(len(norm_p)), np.arange(len(norm_p))] = np.nan
        drawn_lp[-1] = np.nan  # the effect holds the control's own noise
        noise_p = np.sqrt(np.nanmean(drawn_lp**2, axis=0))
        errors.append(noise_p * np.sqrt(1 / predicted.sizes[-1] + 1 / other.sizes[-1]) / np.maximum(norm_p, 1e-12))
        shares.append(step_p / np.maximum(norm_p, 1e-12))
    share_p, error_p = np.mean(shares, axis=0), np.mean(errors, axis=0)
    certain = np.where(share_p > LEAST_SHARE, share_p / np.maximum(error_p, 1e-12), 0)
    best = int(np.argmax(certain))
    return (str(halves[0].labels[best]), float(share_p[best])) if certain[best] > SURE else ("", 0.0)


def describe_sides(predicted: "RankedSide", real: "RankedSide") -> dict[str, Any]:
    """What provenance says of one context: how each side was scaled and how their control states compare, as JSON."""
    return {
        "scale": {side.name: asdict(side.scale) | {"control_depth": control_depth(side)} for side in (real, predicted)},
        "control_state": compare_sides(predicted, real).as_dict(),
    }


def control_depth(side: "RankedSide") -> float:
    """About how many counts a control cell holds after scaling: summed exponentials of means."""
    return float(_depths(side.mean_lg[-1:])[0])


def _depths(mean_lg: np.ndarray) -> np.ndarray:
    return np.expm1(mean_lg).sum(axis=1, dtype=np.float64)


def gather(described: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """`describe_sides` of every context, turned into the entries of provenance."""
    return {key: {context: one[key] for context, one in described.items()} for key in ("scale", "control_state")}


def notes_of(model: str, provenance: dict[str, Any]) -> list[str]:
    """All a reader has to know of a result before believing it, one line each, from its provenance."""
    notes: list[str] = []
    for context, sides in provenance.get("scale", {}).items():
        name = model if context == "all" else f"{model}, {context}"
        for side, given in sides.items():
            notes += scale_notes(
                name, side, Scale(**{key: value for key, value in given.items() if key != "control_depth"})
            )
        depths = [given["control_depth"] for given in sides.values() if given.get("control_depth") is not None]
        drawn = provenance.get("control_state", {}).get(context, {}).get("depth_chance", 0.0)
        if len(depths) == 2 and max(depths) > max(OTHER_DEPTH, np.exp(BY_DRAWING * drawn)) * min(depths):
            notes.append(
                f"note: {name}: a control cell holds about {depths[1]:,.0f} counts, one of the real file "
                f"{depths[0]:,.0f}: the two were scaled to different depths, which counts as error. Scale both alike."
            )
    for context, state in provenance.get("control_state", {}).items():
        notes += ControlState(**state).notes(model if context == "all" else f"{model}, {context}")
    if provenance.get("genes_reordered"):
        notes.append(f"note: {model}: genes in another order than the real file's; matched by name.")
    return notes


def scale_notes(model: str, side: str, scale: Scale) -> list[str]:
    """What is odd about the values of one side: two scales in one matrix, or fractional counts taken as log values."""
    found = []
    if scale.whole_cells:
        found.append(f"{scale.whole_cells} cells hold whole numbers only while others hold fractions")
    if scale.whole_genes:
        found.append(f"{scale.whole_genes} genes hold whole numbers only while others hold fractions")
    notes = [f"note: {model}, {side}: {text}: counts and log1p values are mixed." for text in found]
    if scale.target_sum is not None:
        notes.append(
            f"note: {model}, {side}: whole counts, scaled to {scale.target_sum:g} per cell (their median) and log1p."
        )
    if scale.found == "log1p" and scale.depth_spread > SPREAD:
        notes.append(
            f"note: {model}, {side}: values have fractions and stay below 15, so they were taken as log1p, but undoing the "
            f"log gives cell totals that differ by a factor of {np.exp(scale.depth_spread):.1f} (one sd), as fractional "
            "counts do. Round corrected counts, or take log1p of normalised values."
        )
    return notes


def _agreement(predicted_pg: np.ndarray, real_pg: np.ndarray) -> float:
    """Median correlation of predicted and real changes; 0 where none has one."""
    known = [r for r in _correlation(predicted_pg, real_pg) if r == r]
    return float(np.median(known)) if known else 0.0


def _rms(difference: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(difference**2, axis=-1))


def _correlation(a_pg: np.ndarray, b_pg: np.ndarray) -> list[float]:
    """Pearson of each pair of rows; NaN where one is constant."""
    a_pg, b_pg = (x - x.mean(axis=1, keepdims=True) for x in (a_pg, b_pg))
    norm = np.sqrt((a_pg**2).sum(axis=1) * (b_pg**2).sum(axis=1))
    return np.divide((a_pg * b_pg).sum(axis=1), norm, out=np.full(len(a_pg), np.nan), where=norm > 0).tolist()
