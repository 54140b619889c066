"""The score of cells against held-out ones under a challenge's rule, with an interval over perturbations, and attacks on it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vc_apps.submit.challenge import CONTROL_LABEL, PERT_COLUMN, Challenge

RARE = 1e-3  # chance below which a gene that no predicted cell has was left out

if TYPE_CHECKING:
    import anndata
    import numpy as np
    import pandas as pd
    from vc_eval.vcc2026.anchors import Anchors


@dataclass(frozen=True)
class LocalScore:
    """Score of one file."""

    value: float
    """The rule's headline: 2025 the mean of three scaled members, 2026 that of six; NaN where there is no scale."""
    lower: float
    upper: float
    members: dict[str, float]
    """Raw means of the members."""
    n: int
    """Perturbations."""
    draws: "np.ndarray" = field(repr=False)
    """The headline under every resample of perturbations."""
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"value": self.value, "lower": self.lower, "upper": self.upper, "n": self.n, "members": self.members,
                "notes": list(self.notes)}  # fmt: skip


def real_cells(screen: Path, splits: Path, challenge: Challenge, part: str = "test") -> "anndata.AnnData | None":
    """Measured cells of the challenge's perturbations beside evaluation controls, as the rule labels them; None if absent."""
    import numpy as np
    from vc_eval.contracts import read_screen, read_splits

    data = read_screen(screen)
    plan = read_splits(splits, data)
    label_n, line_n = data.obs["perturbation"].astype(str).to_numpy(), data.obs["cell_line"].astype(str).to_numpy()
    keep_n = np.isin(data.obs_names, plan.controls["evaluation"]) & np.isin(line_n, list(challenge.wanted))
    for context, asked in challenge.wanted.items():
        here_n = (line_n == context) & np.isin(label_n, list(asked))
        if set(label_n[here_n]) != set(asked):
            return None
        keep_n |= here_n
    rows = np.flatnonzero(keep_n)
    cells = data[rows, list(challenge.genes)].copy()
    control_n = cells.obs["is_control"].to_numpy()
    return labelled(cells, np.where(control_n, CONTROL_LABEL, label_n[rows]), line_n[rows], challenge)


def labelled(cells: "anndata.AnnData", label_n, line_n, challenge: Challenge) -> "anndata.AnnData":
    """Counts with the two columns of labels that the rule reads."""
    import anndata
    import pandas as pd
    import scipy.sparse as sp

    obs = pd.DataFrame({PERT_COLUMN: label_n, challenge.context_column: line_n}, index=cells.obs_names)
    return anndata.AnnData(sp.csr_matrix(cells.X), obs=obs.astype("category"), var=pd.DataFrame(index=cells.var_names))


def score_cells(
    cells: "anndata.AnnData", real: "anndata.AnnData", train: "anndata.AnnData", challenge: Challenge,
    *, n_boot: int = 1000, seed: int = 0,
) -> LocalScore:  # fmt: skip
    """Score predicted cells.

    Args:
        cells: As submitted: counts, for 2025 with control cells.
        real: From `real_cells`.
        train: Training cells with controls, of which the mean baseline of 2025 is made.
        challenge: The rule.
        n_boot: Resamples of perturbations.
        seed: Of the resamples.
    """
    notes = attack_notes(cells, real, challenge)
    if challenge.rule == "vcc2025":
        return _score_2025(cells, real, train, challenge, n_boot, seed, notes)
    return _score_2026(cells, real, challenge, n_boot, seed, notes)


def _settings(challenge: Challenge, seed: int, **options: Any) -> Any:
    from vc_eval.cells.settings import Settings

    return Settings(
        pert_col=PERT_COLUMN, control=CONTROL_LABEL, context_col=challenge.context_column, seed=seed, **options
    )


def _wide(table: "pd.DataFrame") -> "pd.DataFrame":
    """A row per condition that was scored and a column per metric; contexts need not share their perturbations."""
    return table.set_index(["context", "perturbation", "metric"])["value"].astype(float).unstack("metric")


def _score_2025(cells, real, train, challenge, n_boot, seed, notes) -> LocalScore:
    import numpy as np
    from vc_eval.cells.rules import score_pair

    settings = _settings(challenge, seed)
    base = mean_baseline(real, train, challenge)
    own, other = (
        _wide(score_pair(one, real, rule="vcc2025", settings=settings).per_perturbation) for one in (cells, base)
    )
    names = [f"vcc2025/{name}" for name in ("mae", "pds", "des")]
    own_pm, base_pm = own[names].to_numpy(), other.loc[own.index, names].to_numpy()
    # The rule makes a member that is no number 0; a 0 of that kind must not pass for a measured one.
    for name, broken in zip(names, (~np.isfinite(own_pm)).sum(axis=0).tolist(), strict=True):
        if broken:
            notes = (*notes, f"{name} is no number for {broken} of {len(own_pm)} conditions, so the rule gives it 0")

    def scaled(mean_m: np.ndarray, base_m: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            mae = 1 - mean_m[..., 0] / base_m[..., 0]
            rest = (mean_m[..., 1:] - base_m[..., 1:]) / (1 - base_m[..., 1:])
        each = np.concatenate([mae[..., None], rest], axis=-1)
        return np.clip(np.nan_to_num(each, nan=0.0), 0, None).mean(axis=-1)

    weight_bp = _weights(own.index, n_boot, seed)
    draws = scaled(weight_bp @ own_pm, weight_bp @ base_pm)
    value = float(scaled(own_pm.mean(axis=0), base_pm.mean(axis=0)))
    members = dict(zip(names, own_pm.mean(axis=0).tolist(), strict=True))
    members |= dict(zip([f"{name} of the mean baseline" for name in names], base_pm.mean(axis=0).tolist(), strict=True))
    return _result(value, draws, members, len(own), notes)


def _score_2026(cells, real, challenge, n_boot, seed, notes) -> LocalScore:
    import numpy as np
    from vc_eval.errors import VcEvalError
    from vc_eval.vcc2026.anchors import MEMBERS
    from vc_eval.vcc2026.rule import prepare_real, scaled_scores, score_pair

    settings = _settings(challenge, seed, options={"anchors": "compute"})
    prepared = prepare_real(real, settings=settings)
    try:
        result = score_pair(cells, prepared, settings=settings)
    except VcEvalError as error:
        if "anchors" not in str(error):
            raise
        raw = score_pair(
            cells, prepare_real(real, settings=_settings(challenge, seed)), settings=_settings(challenge, seed)
        )
        members = dict(zip(raw.aggregate["metric"], raw.aggregate["value"].astype(float), strict=False))
        return _result(float("nan"), np.full(n_boot, np.nan), members, 0, (*notes, f"no scale: {error}"))
    totals = result.aggregate
    overall = totals[totals["metric"] == "vcc2026/overall"]
    value = float(overall["value"].iloc[0])
    members = dict(zip(totals["metric"], totals["value"].astype(float), strict=False))
    draws = []
    for context, known in prepared.contexts.items():
        rows = result.per_perturbation[result.per_perturbation["context"] == context]
        wide = _wide(rows)
        fixed = totals[(totals["context"] == context) & (totals["metric"] == "vcc2026/expression_error")]["value"].iloc[
            0
        ]
        weight_bp = _weights(wide.index, n_boot, seed)
        means = {}
        for name in MEMBERS:
            column = f"vcc2026/{name}"
            if name == "expression_error" or column not in wide:
                means[name] = np.full(n_boot, float(fixed))
                continue
            value_p = wide[column].to_numpy()
            there_p = np.isfinite(value_p)
            with np.errstate(invalid="ignore", divide="ignore"):
                means[name] = (weight_bp[:, there_p] @ value_p[there_p]) / weight_bp[:, there_p].sum(axis=1)
        anchors = cast("Anchors", known.anchors)  # asked for above
        draws.append([scaled_scores({n: float(means[n][b]) for n in MEMBERS}, anchors)["vcc2026/overall"][0]
                      for b in range(n_boot)])  # fmt: skip
    notes = (*notes, "the expression member is a ratio of sums: the interval holds it fixed")
    return _result(value, np.mean(draws, axis=0), members, len(real.obs[PERT_COLUMN].cat.categories) - 1, notes)


def _weights(index: "pd.Index", n_boot: int, seed: int) -> "np.ndarray":
    """[b, p] weights of conditions that sum to 1; perturbations are drawn, with all their contexts."""
    import numpy as np
    from vc_eval.stats.bootstrap import cluster_weights

    names, code_p = np.unique(index.get_level_values("perturbation"), return_inverse=True)
    weight_bp = cluster_weights(len(names), n_boot, seed)[:, code_p].astype(float)
    return weight_bp / weight_bp.sum(axis=1, keepdims=True)


def _result(value: float, draws: "np.ndarray", members: dict[str, float], n: int, notes: tuple[str, ...]) -> LocalScore:
    import numpy as np

    known = draws[np.isfinite(draws)]
    lower, upper = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return LocalScore(value, float(min(lower, value)), float(max(upper, value)), members, n, draws, notes)


def mean_baseline(real: "anndata.AnnData", train: "anndata.AnnData", challenge: Challenge) -> "anndata.AnnData":
    """The challenge's mean baseline for the perturbations of `real`: identical cells of the training mean, real controls."""
    import anndata
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp
    from vc_eval.cells.settings import Settings
    from vc_eval.vcc2025.baseline import baseline_profile

    column, blocks, labels, lines = challenge.context_column, [], [], []
    settings = Settings(pert_col=PERT_COLUMN, control=CONTROL_LABEL)
    for context, asked in challenge.wanted.items():
        own = train[(train.obs[column].astype(str) == context).to_numpy()].copy()
        profile_g, _ = baseline_profile(own, settings=settings)
        here = real[(real.obs[column].astype(str) == context).to_numpy()]
        control: Any = here[(here.obs[PERT_COLUMN].astype(str) == CONTROL_LABEL).to_numpy()].X
        total_n = np.asarray(control.sum(axis=1)).ravel()
        scale = sp.diags_array(np.median(total_n) / np.maximum(total_n, 1))
        blocks += [sp.csr_matrix(np.repeat(profile_g[None], n, axis=0)) for n in asked.values()]
        labels += [name for name, n in asked.items() for _ in range(n)]
        control_log: Any = sp.csr_matrix(scale @ control)
        blocks.append(control_log.log1p())
        labels += [CONTROL_LABEL] * control.shape[0]
        lines += [context] * (sum(asked.values()) + control.shape[0])
    obs = pd.DataFrame({PERT_COLUMN: labels, column: lines}, index=[str(at) for at in range(len(labels))])
    matrix = sp.csr_matrix(sp.vstack(blocks, format="csr"), dtype=np.float32)
    return anndata.AnnData(matrix, obs=obs.astype("category"), var=pd.DataFrame(index=real.var_names))


def attack_notes(cells: "anndata.AnnData", real: "anndata.AnnData", challenge: Challenge) -> tuple[str, ...]:
    """What in a file is no prediction: copied cells, controls that are not the challenge's, genes dropped, deltas blown up."""
    import numpy as np

    notes = []
    label_n = cells.obs[PERT_COLUMN].astype(str).to_numpy()
    control_n = label_n == CONTROL_LABEL
    matrix, measured = _linear(cells.X), _linear(real.X)
    keys = _row_keys(matrix)
    n_equal = len(keys) - len(set(keys))
    if n_equal > 0.01 * len(keys):
        notes.append(
            f"copied cells: {n_equal:,} of {len(keys):,} cells equal another one; identical cells inflate tests"
        )
    n_real = len({keys[at] for at in np.flatnonzero(~control_n)} & set(_row_keys(measured)))
    if n_real:
        notes.append(f"copied cells: {n_real:,} predicted cells are measured ones; that is no prediction")
    real_control_n = real.obs[PERT_COLUMN].astype(str).to_numpy() == CONTROL_LABEL
    controls = measured[real_control_n]
    expected = _share(controls)
    if control_n.any():
        gap = _gap(matrix[control_n], controls)
        if gap > 0.1 and gap > _gap_by_chance(matrix[control_n], controls):
            notes.append(f"swapped controls: {gap:.0%} of the submitted controls' counts lie on other genes than the real "
                         "controls'; tests against them mean nothing")  # fmt: skip
    own, n_own = _share(matrix[~control_n]), int((~control_n).sum())
    # A gene that few control cells have may be in no predicted cell by chance.
    n_with = np.asarray((controls > 0).sum(axis=0)).ravel()
    absent = (own == 0) & (n_with * np.log(controls.shape[0] / (controls.shape[0] + n_own)) < np.log(RARE))
    silent = float(expected[absent].sum())
    if silent > 0.01:
        notes.append(f"dropped genes: genes with {silent:.0%} of the controls' counts have none in any predicted cell")
    size = np.abs(own - expected).sum() / 2
    half = np.random.default_rng(0).permutation(controls.shape[0]) % 2 == 0
    # Few control cells of few counts differ from anything; as far as their halves differ from each other.
    if half.any() and not half.all() and size > 0.3 + _gap(controls[half], controls[~half]):
        notes.append(
            f"scaled deltas: {size:.0%} of the predicted counts moved to other genes; few perturbations do that"
        )
    return tuple(notes)


def _gap(one: Any, other: Any) -> float:
    """Share of counts that lie on other genes."""
    import numpy as np

    return float(np.abs(_share(one) - _share(other)).sum() / 2)


def _gap_by_chance(one: Any, other: Any, draws: int = 99) -> float:
    """The greatest gap when the same cells are dealt into two groups of these sizes by chance."""
    import numpy as np
    import scipy.sparse as sp

    both: Any = sp.vstack([one, other], format="csr")
    rng = np.random.default_rng(0)
    orders = (rng.permutation(both.shape[0]) for _ in range(draws))
    return max(_gap(both[order[: one.shape[0]]], both[order[one.shape[0] :]]) for order in orders)


def _linear(values: Any) -> Any:
    """Counts as they are; log1p values (those of a 2025 archive) taken back, up to the scale of each cell."""
    import numpy as np
    import scipy.sparse as sp

    matrix: Any = sp.csr_matrix(values)
    return matrix if not (matrix.data % 1 > 1e-3).any() else sp.csr_matrix(matrix.astype(np.float64).expm1())


def _row_keys(matrix: Any) -> list[bytes]:
    return [
        matrix.indices[a:b].tobytes() + matrix.data[a:b].astype("float32").tobytes()
        for a, b in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
    ]


def _share(matrix: Any) -> "np.ndarray":
    """[g] mean share of each gene in a cell's counts: an archive of 2025 holds cells of one depth, the measured ones have their own."""
    import numpy as np
    import scipy.sparse as sp

    total_n = np.asarray(matrix.sum(axis=1)).ravel().astype(float)
    each: Any = sp.diags_array(1 / np.maximum(total_n, 1e-9)) @ matrix
    return np.asarray(each.sum(axis=0)).ravel() / max(int((total_n > 0).sum()), 1)
