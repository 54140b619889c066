"""`vc-interp report`: the page."""

from pathlib import Path

from tyro.conf import Positional

from vc_interp.errors import InputError


def report(
    features: Positional[Path],
    /,
    out: Path,
    probes: Path | None = None,
    attention: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Make one offline HTML page of a folder of `vc-interp features`: search by gene, feature by feature.

    Example: vc-interp report features --out page.html --probes probes.tsv

    Args:
        features: Folder that `vc-interp features` (or `vc interp`) wrote.
        out: The .html file to write.
        probes: Table of `vc-interp probe`.
        attention: Folder of `vc-interp attention`.
        overwrite: Replace an earlier file.
    """
    from vc_contracts.whole import check_target, write_whole

    if out.suffix != ".html":
        raise InputError(f"--out {out}: expected a name that ends in .html.")
    inputs = [path for path in (features, probes, attention) if path is not None]
    check_target(out, overwrite=overwrite, inputs=inputs, make_parent=True)
    import json

    from vc_interp.files.networks import read_table
    from vc_interp.report.page import read_tables, render, typed

    summary, tables = read_tables(features)
    agreement = None if attention is None else json.loads((attention / "agreement.json").read_text(encoding="utf-8"))
    page = render(
        summary,
        tables,
        probes=None if probes is None else typed(read_table(probes)),
        edges=None if attention is None else typed(read_table(attention / "edges.tsv")),
        attention=agreement,
    )
    with write_whole(out, overwrite=overwrite, make_parent=True) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(f"wrote {out}: open it in a browser; it needs no network.")
