"""What CONTRIBUTING promises of the code as a whole: sizes that one reader can hold, one form, types that agree."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("packages/*/src", "apps/src") for path in ROOT.glob(f"{folder}/**/*.py"))


def run(*command: str) -> subprocess.CompletedProcess:
    scripts = Path(sys.executable).parent
    return subprocess.run([scripts / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True)


def lengths_of_functions(path: Path) -> dict[str, int]:
    """Lines from the name of each function to its end, docstring included; numba kernels are left out."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            kernel = any("njit" in ast.unparse(decorator) for decorator in node.decorator_list)
            if not kernel:
                found[f"{path.relative_to(ROOT)}:{node.name}"] = node.end_lineno - node.lineno + 1
    return found


def test_files_hold_one_idea_each():
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert len(lines) > 200
    assert {name: n for name, n in lines.items() if n > 400} == {}
    assert statistics.median(lines.values()) <= 150


def test_functions_are_short():
    lengths = {name: n for path in SOURCES for name, n in lengths_of_functions(path).items()}
    assert {name: n for name, n in lengths.items() if n > 80} == {}
    assert sum(n < 35 for n in lengths.values()) >= 0.9 * len(lengths)


def test_the_form_is_that_of_ruff():
    done = run("ruff", "format", "--check", ".")
    assert done.returncode == 0, done.stdout[-2000:]


def test_types_agree():
    done = run("pyrefly", "check", "-j", "1", "--output-format", "min-text")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_a_name_means_one_thing_in_a_package():
    """No two public classes of a package share a name, so that a type in a message or a signature says which it is."""
    places: dict[tuple[str, str], list[str]] = {}
    for path in SOURCES:
        package = path.relative_to(ROOT).parts[path.relative_to(ROOT).parts.index("src") + 1]
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault((package, node.name), []).append(str(path.relative_to(ROOT)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
