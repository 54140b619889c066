"""The documentation site: `just docs`, or the command in CONTRIBUTING.md. Warnings are errors."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

project = "virtual-cell"
author = "The virtual-cell authors"
project_copyright = "2026, The virtual-cell authors"
extensions = ["myst_parser", "sphinx.ext.apidoc", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"  # follows the reader's light or dark setting
html_title = "virtual-cell"
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
# Pages link to files outside docs/ as well (sources, package READMEs). tests/workspace checks that every link leads somewhere.
suppress_warnings = ["myst.xref_missing", "ref.python"]

# The API reference is made from the docstrings of every public module.
apidoc_modules = [
    {
        "path": str(source),
        "destination": f"api/{source.name}",
        "separate_modules": False,
        "module_first": True,
        "include_private": False,
        "max_depth": 2,
    }
    for source in sorted(ROOT.glob("packages/*/src/vc_*"))
]
autodoc_default_options = {"members": True, "ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def _as_rst(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are written to be read in the source; where reStructuredText reads something else into them, say what is meant.

    `|delta|` is an absolute value. In a module's docstring an indented block is a formula, and a list needs no blank line before it.
    """
    out: list[str] = []
    for line in lines:
        line = line if "``" in line else line.replace("|", "\\|")
        before = out[-1] if out else ""
        if what == "module":
            if line.startswith(("- ", "1. ")) and before.strip() and not before.startswith(("- ", "1. ", " ")):
                out.append("")
            elif line.startswith("  ") and not before.strip() and not _in_block(out):
                out += ["::", ""]
                line = line.replace("\\|", "|")
            elif line and not line.startswith(" ") and before.startswith(" ") and _in_list(out):
                out += [] if line[:1].isdigit() or line.startswith("- ") else [""]
        out.append(line)
    lines[:] = out


def _in_block(out: list[str]) -> bool:
    """Whether the last written text is indented: a formula that goes on after a blank line."""
    return next((line.startswith("  ") for line in reversed(out) if line.strip()), False)


def _in_list(out: list[str]) -> bool:
    """Whether the paragraph that ends here began as a list."""
    start = next((i for i in range(len(out) - 1, -1, -1) if not out[i].strip()), -1) + 1
    return start < len(out) and out[start].startswith(("- ", "1. "))


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", _as_rst)
