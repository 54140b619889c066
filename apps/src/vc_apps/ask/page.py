"""Answers as one self-contained page: a row a condition, the verdict before the numbers."""

import html
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vc_model.ask.answers import Answers

COLUMNS = (
    "perturbation", "cell_line", "support", "accuracy", "effect_size", "genes_expected_to_change", "up", "down", "note",
)  # fmt: skip
CSP = "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">"
"""Whatever a name may hold, the page runs no script and fetches nothing."""
STYLE = """body{font:16px/1.5 system-ui,sans-serif;margin:2rem;color:#1a1a1a;background:#fff}
div{overflow-x:auto}table{border-collapse:collapse}th,td{padding:.3rem .6rem;text-align:left;vertical-align:top;
border-bottom:1px solid #ccc}td:nth-child(n+7){min-width:16rem}"""


def write_page(answers: "Answers", path: Path, *, title: str) -> None:
    """Write the page.

    Args:
        answers: What was answered.
        path: The file.
        title: What answered.
    """
    from vc_model.ask.stream import cell_text

    head = "".join(f"<th scope=col>{name.replace('_', ' ')}</th>" for name in COLUMNS)
    columns = [answers.table[name] for name in COLUMNS]
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell_text(value))}</td>" for value in row) + "</tr>"
        for row in zip(*columns, strict=True)
    )
    path.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8>{CSP}<meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style><h1>Answers of {html.escape(title)}</h1><p>Accuracy is a "
        "share of what repeating the experiment would give, out of fold.</p><div tabindex=0><table><thead><tr>"
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div></html>",
        encoding="utf-8",
    )
