"""The page: one HTML file, nothing fetched, everything escaped, numbers beside their chance level.

What the tables hold is text of strangers (gene names, perturbations, sets). The template escapes it, and the data that the page
searches are JSON in which `<`, `>` and `&` are written as escapes; the script sets text, never markup.
"""

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vc_interp.errors import InputError
from vc_interp.features.run import SUMMARY

MOST = {"genes": 16, "sets": 8, "changes": 12, "rows": 6}
TABLE_ROWS = 40


def read_tables(folder: Path) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Summary and tables of a folder of `vc-interp features`.

    Raises:
        InputError: If it is no such folder.
    """
    if not (folder / SUMMARY).is_file() or not (folder / "features.tsv").is_file():
        raise InputError(
            f"{folder}: expected a folder that `vc-interp features` wrote, found no {SUMMARY} or features.tsv."
        )
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        names = ("features", "genes", "perturbations", "lines", "rows", "enrichment", "regulators")
        tables = {
            name: pd.read_csv(folder / f"{name}.tsv", sep="\t", keep_default_na=False, na_values=[""], dtype=TEXT)
            for name in names
            if (folder / f"{name}.tsv").is_file()
        }
    except (ValueError, OSError) as error:
        raise InputError(
            f"{folder}: expected readable tables, found others ({error}). Run `vc-interp features` again."
        ) from error
    if not isinstance(summary, dict) or "feature" not in tables["features"]:
        raise InputError(f"{folder}: expected a summary and a table of features, found others. Run it again.")
    return summary, tables


TEXT: dict[Hashable, Any] = dict.fromkeys(
    ("feature", "gene", "perturbation", "cell_line", "row", "gene_set", "dimension", "end", "regulator", "best_set",
     "source", "target", "direction", "probe", "note"),
    str,
)  # fmt: skip
"""Columns of names: one that looks like a number stays as it is."""


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """A table of text with numbers where a column holds nothing else, names left as they are."""
    out = table.copy()
    for column in out.columns:
        if column not in TEXT:
            numbers = pd.to_numeric(out[column], errors="coerce")
            if (numbers.notna() | out[column].isna()).all():
                out[column] = numbers
            else:
                out[column] = out[column].where(out[column].notna(), "")
        else:
            out[column] = out[column].fillna("")
    return out


def render(
    summary: dict[str, Any],
    tables: dict[str, pd.DataFrame],
    *,
    probes: pd.DataFrame | None = None,
    edges: pd.DataFrame | None = None,
    attention: dict[str, Any] | None = None,
) -> str:
    """The page as text.

    Args:
        summary: Of `read_tables`.
        tables: Of `read_tables`.
        probes: What `vc-interp probe` wrote.
        edges: What `vc-interp attention` wrote.
        attention: Its agreement with interventions.
    """
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = _number
    regulators = tables.get("regulators", pd.DataFrame())
    return environment.get_template("page.html.j2").render(
        s=summary,
        data=_script_safe(_features(tables)),
        n_genes=tables["genes"]["gene"].nunique() if "genes" in tables else 0,
        regulators=_records(regulators.head(TABLE_ROWS)),
        n_regulators=len(regulators),
        probes=_records(probes),
        edges=_records(None if edges is None else edges.head(TABLE_ROWS)),
        attention=attention,
    )


def _script_safe(value: Any) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character, escape in (
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        text = text.replace(character, escape)
    return text


def _features(tables: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """What the page searches, feature by feature; the most active first."""
    genes, sets = tables.get("genes"), tables.get("enrichment")
    effects = [name for name in ("intervention", "gradient") if genes is not None and name in genes]
    parts = {
        "genes": _by_feature(genes, "feature", ["gene", *effects], MOST["genes"]),
        "sets": _by_feature(
            None if sets is None else sets[sets["fdr"] < 0.05], "dimension", ["gene_set", "end", "overlap", "fdr"], MOST["sets"]
        ),
        "changes": _by_feature(_strongest(tables.get("perturbations")), "feature",
                               ["cell_line", "perturbation", "change", "fdr"], MOST["changes"]),
        "lines": _by_feature(tables.get("lines"), "feature", ["cell_line", "mean_activation"], 50),
        "rows": _by_feature(tables.get("rows"), "feature", ["row", "activation"], MOST["rows"]),
    }  # fmt: skip
    out = []
    for entry in tables["features"].to_dict(orient="records"):
        if entry.get("dead") in (True, "True"):
            continue
        name = str(entry["feature"])
        one: dict[str, Any] = {"name": name, "effects": effects}
        one |= {
            key: _plain(entry.get(key))
            for key in ("active_share", "typical_activation", "stability", "moved_by", "agreement")
        }
        out.append(one | {key: found.get(name, []) for key, found in parts.items()})
    return sorted(out, key=lambda one: -(one["moved_by"] or 0))


def _strongest(changes: pd.DataFrame | None) -> pd.DataFrame | None:
    """The significant changes, largest first."""
    if changes is None or not len(changes):
        return None
    kept = changes[changes["fdr"] < 0.05]
    return kept.iloc[np.argsort(-kept["change"].abs().to_numpy(), kind="stable")]


def _by_feature(table: pd.DataFrame | None, key: str, columns: list[str], most: int) -> dict[str, list[list[Any]]]:
    if table is None or not len(table):
        return {}
    return {
        str(name): [[_plain(value) for value in row] for row in group[columns].head(most).itertuples(index=False)]
        for name, group in table.groupby(key, sort=False)
    }


def _records(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    if table is None:
        return []
    return [{str(key): _plain(value) for key, value in row.items()} for row in table.to_dict(orient="records")]


def _plain(value: Any) -> Any:
    """JSON of a cell; what is not finite is null."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value if isinstance(value, bool | int | str) or value is None else str(value)


def _number(value: Any, digits: int = 3) -> str:
    """Three significant digits; a dash for what is missing."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "-"
    return str(value) if isinstance(value, int | str) else f"{value:.{digits}g}"
