"""From what a file holds to effects in one space: ranks in one convention, wells less their control wells."""

from dataclasses import dataclass

import numpy as np

from vc_data.errors import ControlError, OptionError, SourceError

TARGET_SUM = 10_000  # counts per well after scaling, the CP10k convention
FEW_CONTROLS = 3  # control wells below which their spread says nothing
SPACE_OF = {
    "log1p_delta": "log1p_delta", "log_fold_change": "log_fold_change", "z": "z", "rank_up": "rank", "rank_all": "rank",
    "rank_signed": "rank", "log_profile": "log_fold_change", "counts": "log1p_delta",
}  # fmt: skip
"""What the values are -> `uns["space"]`."""


@dataclass(frozen=True, eq=False)
class Effects:
    """Effects of rows, [n, g] float64 with NaN where not measured, their standard errors or None, and what was done."""

    values_ng: np.ndarray
    se_ng: np.ndarray | None
    said: tuple[str, ...] = ()


def ranks(values_ng: np.ndarray, kind: str, path: str) -> np.ndarray:
    """Ranks as effects-v1 has them: 1 rises most, -1 falls most, 0 is not listed.

    Args:
        values_ng: [n, g] as found; NaN where not measured.
        kind: `rank_up`, `rank_all` or `rank_signed`.
        path: Name of the file, for messages.

    Raises:
        SourceError: Values that are no such ranks.

    Examples:
        >>> ranks(np.array([[1.0, 4, 2, 3]]), "rank_all", "a.csv").tolist()
        [[1.0, -1.0, 2.0, -2.0]]
        >>> ranks(np.array([[9.0, -3, 2, 0]]), "rank_signed", "a.csv").tolist()
        [[1.0, -1.0, 2.0, 0.0]]
    """
    known_ng = ~np.isnan(values_ng)
    if kind != "rank_signed":
        seen = values_ng[known_ng]
        if (seen < (kind == "rank_all")).any() or (seen != np.trunc(seen)).any():
            expected = "whole numbers from 1" + (", 0 for genes that are not listed" if kind == "rank_up" else "")
            raise SourceError(path, "values", expected, "others", "Pass the --values that they are.")
    if kind == "rank_up":
        return values_ng
    if kind == "rank_all":
        n_n1 = known_ng.sum(axis=1, keepdims=True)
        return np.where(values_ng <= (n_n1 + 1) // 2, values_ng, values_ng - n_n1 - 1)
    result_ng = np.where(known_ng, 0.0, np.nan)
    for row, result in zip(values_ng, result_ng, strict=True):
        for sign in (1, -1):
            at = np.flatnonzero(sign * row > 0)
            result[at[np.argsort(-sign * row[at], kind="stable")]] = sign * np.arange(1, len(at) + 1)
    return result_ng


def logarithm(counts_ng: np.ndarray, total_n: np.ndarray | None, path: str) -> np.ndarray:
    """log1p of counts per 10,000.

    Raises:
        SourceError: Negative or broken counts, or a row without any.
    """
    seen = counts_ng[~np.isnan(counts_ng)]
    if (seen < 0).any() or (seen != np.trunc(seen)).any():
        raise SourceError(path, "values", "whole counts >= 0", "others", "Pass --values log_profile for logarithms.")
    total_n = np.nansum(counts_ng, axis=1) if total_n is None else total_n
    if not (total_n > 0).all():
        raise SourceError(
            path, "total counts", "more than 0 in every row", f"{int((total_n <= 0).sum())} rows", "Drop them."
        )
    return np.log1p(counts_ng * (TARGET_SUM / total_n)[:, None])


def less_controls(
    profile_ng: np.ndarray, is_control_n: np.ndarray, line_n: np.ndarray, batch_n: np.ndarray, path: str
) -> Effects:
    """Subtract from every row the mean of the control rows of its cell line, of its batch where that has any.

    The standard error of a row is the controls' spread: sd * sqrt(1 + 1 / controls), from three control wells on.

    Raises:
        ControlError: A cell line without control rows.
    """
    effect_ng, se_ng = np.full_like(profile_ng, np.nan), np.full_like(profile_ng, np.nan)
    elsewhere = 0
    for line in np.unique(line_n):
        of_line = is_control_n & (line_n == line)
        if not of_line.any():
            raise ControlError(path, "rows", f"control rows of cell line {line!r}", "none", "Pass --control LABEL.")
        residual_ng = np.full_like(profile_ng, np.nan)
        degrees = 0
        for batch in np.unique(batch_n[of_line]):
            own = of_line & (batch_n == batch)
            residual_ng[own] = profile_ng[own] - np.nanmean(profile_ng[own], axis=0)
            degrees += own.sum() - 1
        sd_g = np.sqrt(np.nansum(residual_ng[of_line] ** 2, axis=0) / max(degrees, 1))
        for batch in np.unique(batch_n[line_n == line]):
            rows = (line_n == line) & (batch_n == batch)
            own = of_line & (batch_n == batch)
            if not own.any():
                own, elsewhere = of_line, elsewhere + int((rows & ~is_control_n).sum())
            effect_ng[rows] = profile_ng[rows] - np.nanmean(profile_ng[own], axis=0)
            if degrees >= FEW_CONTROLS - 1:
                se_ng[rows] = sd_g * np.sqrt(1 + 1 / own.sum())
    said = (f"control rows: {int(is_control_n.sum())}, their mean subtracted",)
    if elsewhere:
        said += (f"rows of batches without control, compared with all controls of their line: {elsewhere}",)
    known = not np.isnan(se_ng[~is_control_n]).all()
    return Effects(effect_ng, np.nan_to_num(se_ng) if known else None, said)


def clipped(values_ng: np.ndarray, at: float) -> np.ndarray:
    """Values cut at plus and minus `at`.

    Raises:
        OptionError: `at` is not above 0.
    """
    if not at > 0:
        raise OptionError("convert-effects", "--clip", "a number above 0", at, "Pass another one.")
    return np.clip(values_ng, -at, at)
