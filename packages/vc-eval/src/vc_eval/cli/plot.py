"""`vc-eval plot`: one figure from a contract."""

import warnings
from typing import TYPE_CHECKING, cast

from vc_eval.cli import options
from vc_eval.errors import VcEvalError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png", ".pdf")


def plot(command: options.Plot) -> None:
    """`vc-eval plot`: read, draw, write."""
    from vc_eval.contracts import check_target, write_whole

    if command.out.suffix not in SUFFIXES:
        raise VcEvalError(f"plot: expected a name that ends in svg, png or pdf, found {str(command.out)!r}.")
    inputs = [path for path in (command.source, command.against) if path is not None and not path.is_dir()]
    check_target(command.out, overwrite=command.overwrite, inputs=inputs, make_parent=True)
    axes = (_of_scores if command.kind in ("calibration", "gain") else _of_predictions)(command)
    import matplotlib

    dated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}[command.out.suffix]
    with (
        write_whole(command.out, overwrite=command.overwrite, make_parent=True) as temporary,
        matplotlib.rc_context({"svg.hashsalt": "vc-eval", "svg.fonttype": "none"}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        cast("Figure", axes.figure).savefig(temporary, format=command.out.suffix[1:], dpi=160, metadata=dated)
    print(f"wrote {command.out}.")


def _of_scores(command: options.Plot) -> "Axes":
    from vc_eval.contracts import read_scores
    from vc_eval.plot import calibration, gain_over_baselines
    from vc_eval.plot.scores import coverage_curves

    table, summary = read_scores(command.source)
    if command.kind == "calibration":
        curves = coverage_curves(table)
        if not curves:
            raise VcEvalError(f"plot: no model of {str(command.source)!r} states intervals.")
        return calibration(curves)
    model = command.model or str(summary.get("model", ""))
    if not model:
        names = sorted(set(table["model"]))
        raise VcEvalError(
            f"plot: {str(command.source)!r} does not say which model is meant. Pass --model, one of {names}."
        )
    return gain_over_baselines(table, model=model, metric=command.metric)


def _of_predictions(command: options.Plot) -> "Axes":
    from vc_eval import plot as figures
    from vc_eval.plot.scores import read_changes

    said = read_changes(command.source)
    names, genes, unit = said.names, said.genes, said.unit
    if not names:
        raise VcEvalError(f"plot: {str(command.source)!r} holds no condition.")
    if command.kind == "heatmap":
        return figures.heat_map(said.delta_pg, conditions=names, genes=genes.tolist(), unit=unit)
    at = _position(names, command.condition or names[0])
    if command.kind == "volcano":
        if said.sd_pg is None:
            raise VcEvalError(f"plot: {str(command.source)!r} states no standard deviations; a volcano needs them.")
        axes = figures.volcano(said.delta_pg[at], said.sd_pg[at], genes=genes.tolist(), unit=unit)
    else:
        if command.against is None:
            raise VcEvalError(
                "plot: measured needs --against, the measured profiles or effects in a file of the same kind."
            )
        other = read_changes(command.against)
        if other.unit != unit:
            raise VcEvalError(
                f"plot: {str(command.against)!r} holds changes in {other.unit}, {str(command.source)!r} in {unit}; expected one."
            )
        position = {gene: g for g, gene in enumerate(other.genes)}
        shared = [g for g, gene in enumerate(genes) if gene in position]
        if len(shared) < 2:
            raise VcEvalError("plot: the two files have fewer than two genes in common; expected the same names.")
        rows = [row for row, name in enumerate(other.names) if name == names[at]] or [_position(other.names, names[at])]
        measured = other.delta_pg[rows].mean(axis=0)[[position[genes[g]] for g in shared]]
        axes = figures.predicted_against_measured(
            said.delta_pg[at][shared], measured, genes=genes[shared].tolist(), unit=unit
        )
    axes.set_title(f"{figures.short_name(names[at])}\n{axes.get_title()}".replace("$", r"\$"), fontsize=10)
    return axes


def _position(names: list[str], wanted: str) -> int:
    if wanted not in names:
        raise VcEvalError(f"plot: no condition {wanted!r}; expected one of {len(names)}, e.g. {names[:5]!r}.")
    return names.index(wanted)
