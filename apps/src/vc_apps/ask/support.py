"""`vc support`: the map of what a model knows, genes x contexts."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from vc_apps.ask.settings import Support
from vc_apps.outputs import AppError, check_out, say

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from vc_model.ask.model import AskModel, SupportMap


def support(settings: Support) -> None:
    """Print the map in short, or write it as a table or a figure.

    Raises:
        AppError: If the request cannot be carried out.
        VcModelError: If the model is refused.
    """
    from vc_contracts.command import print_json
    from vc_model.ask.model import load
    from vc_model.ask.questions import read_names

    suffixes = (".tsv", ".png", ".svg", ".pdf")
    if settings.out is not None:
        if settings.out.suffix not in suffixes:
            raise AppError(f"--out {settings.out}: expected a name that ends in one of {', '.join(suffixes)}.")
        check_out(settings)
    model = load(settings.model, plugin=settings.plugin)
    _say_what_is_new(model, settings)
    names = [*settings.genes, *(read_names(settings.genes_file) if settings.genes_file else ())]
    found = model.support(names, mode=settings.mode, cell_lines=settings.cell_line)
    if settings.json:
        print_json(_counts(found))
    else:
        _print(found, named=bool(names))
    if settings.out is not None:
        _write(found, settings.out, settings.overwrite)
        say(f"wrote {settings.out}: {len(found.genes):,} genes x {len(found.cell_lines)} contexts")


def _say_what_is_new(model: "AskModel", settings: Support) -> None:
    """A line for each context or mode that the model was never trained on; a slip of the pen would look like one."""
    from vc_model.ask.questions import near_names

    there = model.fitted.contexts.cell_lines
    for line in settings.cell_line:
        if line not in there:
            near = near_names(line, there) or there[:5]
            say(
                f"note: {line} is no context of the model; what follows holds for any new one. Its own: {', '.join(near)}"
            )
    if settings.mode is not None and settings.mode not in (trained := model.memory.mode_names):
        say(
            f"note: {settings.mode} was never trained, only {', '.join(trained)}; what was seen, was seen with another mode"
        )


def _counts(found: "SupportMap") -> list[dict]:
    """One row for every context and class: genes, and the accuracy such conditions had."""
    import numpy as np
    from vc_model.ask.verdict import VERDICTS

    rows = []
    for column, line in enumerate(found.cell_lines):
        for kind, name in enumerate(VERDICTS):
            at = np.flatnonzero(found.kind_nc[:, column] == kind)
            if len(at):
                share = float(found.accuracy_nc[at[0], column])
                accuracy = None if share != share else round(share, 3)
                level = found.measured_on[column].get(kind, "")
                rows.append(
                    {"cell_line": line, "support": name, "genes": len(at), "accuracy": accuracy, "measured_on": level}
                )
    return rows


def _print(found: "SupportMap", *, named: bool) -> None:
    from vc_model.ask.verdict import VERDICTS

    if named and len(found.genes) <= 20:
        for name, kinds in zip(found.genes, found.kind_nc, strict=True):
            print(
                "; ".join(
                    f"{name} in {line}: {VERDICTS[kind]}" for line, kind in zip(found.cell_lines, kinds, strict=True)
                )
            )
    print(f"{'context':<20} {'support':<18} {'genes':>8}  accuracy, as a share of what repeating would give")
    for row in _counts(found):
        share = "not known" if row["accuracy"] is None else f"{row['accuracy']:.2f}"
        if " / " in row["measured_on"]:
            share += f"  (cannot be told apart here: {row['measured_on']})"
        print(f"{row['cell_line'][:20]:<20} {row['support']:<18} {row['genes']:>8,}  {share}")


def _write(found: "SupportMap", out: Path, overwrite: bool) -> None:
    from vc_contracts import write_whole
    from vc_model.ask.stream import cell_text
    from vc_model.ask.verdict import VERDICTS

    with write_whole(out, overwrite=overwrite, make_parent=True) as temporary:
        if out.suffix == ".tsv":
            with temporary.open("w", encoding="utf-8") as stream:
                stream.write("gene\t" + "\t".join(map(cell_text, found.cell_lines)) + "\n")
                for name, kinds in zip(found.genes, found.kind_nc.tolist(), strict=True):
                    stream.write(f"{cell_text(name)}\t" + "\t".join(VERDICTS[kind] for kind in kinds) + "\n")
        else:
            _draw(found, temporary, out.suffix[1:])


def _draw(found: "SupportMap", path: Path, kind: str) -> None:
    """The map, contexts x genes."""
    from vc_eval.plot import support_map
    from vc_model.ask.verdict import VERDICTS

    axes = support_map(found.kind_nc.T, genes=found.genes, contexts=found.cell_lines, names=VERDICTS)
    cast("Figure", axes.figure).savefig(path, format=kind, dpi=150)
