"""The boundaries between the packages are import rules, and the rules bite."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RULES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
MODULES = {path.name for path in ROOT.glob("packages/*/src/*") if (path / "__init__.py").exists()}


def lint_imports(root: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=root,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def rule(name_part: str) -> dict:
    (found,) = (contract for contract in RULES["contracts"] if name_part in contract["name"])
    return found


def test_the_rules_are_kept():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_the_rules_cover_every_package():
    assert len(MODULES) == 6
    assert set(RULES["root_packages"]) == MODULES | {"vc_apps"}
    assert set(rule("independent")["modules"]) == MODULES - {"vc_contracts"}
    assert set(rule("Nobody imports the apps")["source_modules"]) == MODULES


PLANTED = [
    ("vc_eval", "import vc_model", "independent"),
    ("vc_interp", "def late():\n    from vc_featurize import bank", "independent"),
    ("vc_data", "import vc_apps", "Nobody imports the apps"),
    ("vc_contracts", "import vc_model", "know none of the packages"),
    ("vc_data", "import jax", "neither JAX nor torch"),
    ("vc_model", "def late():\n    import torch", "does not know torch"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> str:
    """What is said of a copy of the sources with every planted import, each in a module of its own that nobody imports."""
    root = tmp_path_factory.mktemp("planted")
    shutil.copy(ROOT / "pyproject.toml", root)
    sources = [*ROOT.glob("packages/*/src"), ROOT / "apps" / "src"]
    for source in sources:
        shutil.copytree(source, root / "src", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for at, (module, line, _) in enumerate(PLANTED):
        (root / "src" / module / f"planted_{at}.py").write_text(line + "\n")
    done = lint_imports(root, PYTHONPATH=str(root / "src"))
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("at", range(len(PLANTED)), ids=[f"{module}: {line}" for module, line, _ in PLANTED])
def test_a_planted_import_is_caught(at, report):
    module, _, broken = PLANTED[at]
    name = rule(broken)["name"]
    assert f"{name} BROKEN" in report
    # Below its own rule, and below no other.
    sections = report.partition("Broken contracts")[2].split("\n---")
    told = [before.splitlines()[-1] for before, text in pairwise(sections) if f"{module}.planted_{at} " in text]
    assert told == [name]


def test_the_planted_imports_break_their_rules_only(report):
    names = {rule(broken)["name"] for *_, broken in PLANTED}
    assert set(re.findall(r"^(.*) BROKEN", report, re.MULTILINE)) == names
    assert f"{len(names)} broken" in report


@pytest.mark.parametrize("readme", sorted(ROOT.glob("packages/*/README.md")), ids=lambda path: path.parent.name)
def test_the_top_of_each_package_offers_what_its_readme_uses(readme):
    name = readme.parent.name.replace("-", "_")
    text = "\n".join(re.findall(r"```(?:python|py)\n(.*?)```", readme.read_text(), flags=re.DOTALL))
    used = re.findall(rf"^(?:from|import) ({name}\S*)(?: import (.+))?", text, flags=re.MULTILINE)
    package = importlib.import_module(name)
    for module, names in used:
        assert module == name, f"{readme}: {module} stands below the top"
        for one in filter(None, re.split(r",\s*", names)):
            assert one in package.__all__ and getattr(package, one) is not None
    assert set(package.__all__) <= set(dir(package)) and all(
        getattr(package, one) is not None for one in package.__all__
    )
