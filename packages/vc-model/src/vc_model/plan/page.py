"""The page of an answer: one self-contained HTML file, the figure as inline SVG, nothing fetched."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vc_model.plan.results import Decision

ROWS = 50
"""Rows of the table that the page shows."""
SHORT = 30
"""Letters of a name that is kept on one line."""
_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ d.verb }}: {{ d.question }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.35rem; margin-bottom: .3rem } .verb { color: #57606a; font-size: .9rem; letter-spacing: .04em }
.answer { border-left: 4px solid {{ "#1f6f54" if d.called else "#9a6700" }}; padding: .6rem 1rem; background: #f6f8fa }
figure { margin: 1.5rem 0 } figure svg { max-width: 100%; height: auto } figcaption, .small { color: #57606a; font-size: .88rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: .85rem; width: 100% }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #d8dee4; vertical-align: top }
th, td.name { white-space: nowrap } td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.extrapolation { color: #9a6700 } .no { color: #b42318 }
</style></head><body>
<p class="verb">vc discover {{ d.verb }}</p><h1>{{ d.question }}</h1>
<p class="answer">{{ d.answer }}</p>
<figure>{{ svg | safe }}<figcaption>{{ d.caption }}</figcaption></figure>
{% if d.doubts %}<h2>Reasons to doubt</h2><ul>{% for text in d.doubts %}<li>{{ text }}</li>{% endfor %}</ul>{% endif %}
<h2>Table</h2><div class="scroll"><table><thead><tr>{% for c in columns %}<th>{{ c }}</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}<tr>{% for kind, text in row %}<td class="{{ kind }}">{{ text }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% if total > shown %}<p class="small">The first {{ shown }} of {{ total }} rows; all are in table.csv and table.parquet.</p>{% endif %}
<h2>What this rests on</h2><dl class="small">{% for key, value in d.facts.items() %}<dt><b>{{ key }}</b></dt><dd>{{ value }}</dd>{% endfor %}</dl>
</body></html>
"""


def render_page(decision: "Decision") -> str:
    """The page as HTML text."""
    import jinja2

    head = decision.table.head(ROWS)
    rows = [[_cell(str(column), value) for column, value in row.items()] for row in head.to_dict(orient="records")]
    template = jinja2.Environment(autoescape=True).from_string(_TEMPLATE)
    return template.render(
        d=decision,
        svg=figure_svg(decision),
        columns=list(head.columns),
        rows=rows,
        shown=len(head),
        total=len(decision.table),
    )


def figure_svg(decision: "Decision") -> str:
    """The figure as an SVG element; the same bytes for the same answer."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(
        {
            "svg.hashsalt": "vc",
            "svg.fonttype": "none",
            "text.parse_math": False,
            "font.size": 10,
            "font.family": "sans-serif",
        }
    ):
        figure = Figure(figsize=(8.5, 4.6), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        decision.draw(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def _cell(column: str, value: str | float | bool) -> tuple[str, str]:
    if isinstance(value, float):
        return "number", "" if value != value else f"{value:.3g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return "number", str(value)
    if column == "name" and len(str(value)) <= SHORT:
        return "name", str(value)
    kind = "" if column != "support" or value == "supported" else str(value).split()[0]
    return kind, str(value)
