"""`vc support`: the map of what a model knows, genes x contexts."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from vc_apps.ask.settings import Support
from vc_apps.outputs import AppError

if TYPE_CHECKING:
    from vc_model.ask.model import SupportMap

COLOURS = ("#1b7837", "#5aae61", "#a6dba0", "#fdb863", "#bdbdbd")


def support(settings: Support) -> None:
    """Print the map in short, or write it as a table or a figure.

    Raises:
        AppError: If the request cannot be carried out.
        VcModelError: If the model is refused.
    """
    from vc_model.ask.model import load
    from vc_model.ask.questions import read_names

    suffixes = (".tsv", ".png", ".svg", ".pdf")
    if settings.out is not None:
        from vc_contracts import check_target

        if settings.out.suffix not in suffixes:
            raise AppError(f"--out {settings.out}: expected a name that ends in one of {', '.join(suffixes)}.")
        check_target(settings.out, overwrite=settings.overwrite, inputs=[settings.model], make_parent=True)
    model = load(settings.model, plugin=settings.plugin)
    names = [*settings.genes, *(read_names(settings.genes_file) if settings.genes_file else ())]
    found = model.support(names, mode=settings.mode, cell_lines=settings.cell_line)
    if settings.json:
        print(json.dumps(_counts(found)))
    else:
        _print(found, named=bool(names))
    if settings.out is not None:
        _write(found, settings.out, settings.overwrite)
        print(f"wrote {settings.out}: {len(found.genes):,} genes x {len(found.cell_lines)} contexts")


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
                rows.append({"cell_line": line, "support": name, "genes": len(at), "accuracy": accuracy})
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
        print(f"{row['cell_line'][:20]:<20} {row['support']:<18} {row['genes']:>8,}  {share}")


def _write(found: "SupportMap", out: Path, overwrite: bool) -> None:
    from vc_contracts import write_whole
    from vc_model.ask.verdict import VERDICTS

    with write_whole(out, overwrite=overwrite, make_parent=True) as temporary:
        if out.suffix == ".tsv":
            with temporary.open("w") as stream:
                stream.write("gene\t" + "\t".join(found.cell_lines) + "\n")
                for name, kinds in zip(found.genes, found.kind_nc.tolist(), strict=True):
                    stream.write(f"{name}\t" + "\t".join(VERDICTS[kind] for kind in kinds) + "\n")
        else:
            _draw(found, temporary, out.suffix[1:])


def _draw(found: "SupportMap", path: Path, kind: str) -> None:
    """The map as bars: how many genes of each context are known how well."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    from vc_model.ask.verdict import VERDICTS

    count_ck = np.stack([np.bincount(column, minlength=len(VERDICTS)) for column in found.kind_nc.T])
    figure, axes = plt.subplots(figsize=(7, 1.2 + 0.4 * len(found.cell_lines)), layout="constrained")
    left_c = np.zeros(len(count_ck))
    for at, (name, colour) in enumerate(zip(VERDICTS, COLOURS, strict=True)):
        if count_ck[:, at].any():
            axes.barh(found.cell_lines, count_ck[:, at], left=left_c, color=colour, label=name)
            left_c += count_ck[:, at]
    axes.invert_yaxis()
    axes.set_xlabel("genes")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, format=kind, dpi=150)
    plt.close(figure)
