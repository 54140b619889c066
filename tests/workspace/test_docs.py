"""The documentation builds without a warning, and what its how-tos print runs as printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from warm import warm_commands

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))


def blocks(page: Path) -> list[tuple[str, str]]:
    """What a page runs: fences `bash` and `python`, in order. Fragments stand in fences `sh` and `py` and are only read."""
    return [(language, code.replace("uv run --no-dev ", "")) for language, code in BLOCK.findall(page.read_text())]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(language, code, folder) -> a block run there; commands of the workspace and Python start with their imports done."""
    with warm_commands(tmp_path_factory.mktemp("warm")) as scripts:
        path = os.pathsep.join([str(scripts), str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "MPLBACKEND": "agg"}

        def run_block(language: str, code: str, folder: Path) -> subprocess.CompletedProcess:
            command = (
                ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [scripts / "warm-python", code]
            )
            return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)

        yield run_block


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_how_to_runs_as_printed(page, run, tmp_path):
    """One folder a page; each block finds what the blocks before it wrote."""
    for number, (language, code) in enumerate(blocks(page), 1):
        done = run(language, code, tmp_path)
        assert done.returncode == 0, f"{page.name}, block {number}:\n{code}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_how_to_opens_with_what_the_reader_will_have(page):
    title, opening = page.read_text().split("\n\n")[:2]
    assert title.startswith("# ")
    assert re.search(r"\byou (will )?have\b|\bYou have\b", opening), f"{page.name} opens with: {opening[:120]}"


def test_the_site_builds_without_a_warning(run, tmp_path):
    # The site's own theme takes three times as long to write the same pages, and warns of nothing more.
    theme = ["-D", "html_theme=basic"]
    arguments = ["-q", "-W", "--keep-going", "-b", "html", *theme, str(ROOT / "docs"), str(tmp_path / "site")]
    done = run("python", f"import sys; from sphinx.cmd.build import main; sys.exit(main({arguments}))", tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    index = (tmp_path / "site" / "index.html").read_text()
    for page in (*PAGES, ROOT / "docs" / "metrics.md"):
        name = page.relative_to(ROOT / "docs").with_suffix(".html")
        assert (tmp_path / "site" / name).exists()
        assert str(name) in index, f"no way from the first page to {name}"
    assert "score_pair" in (tmp_path / "site" / "genindex.html").read_text()
