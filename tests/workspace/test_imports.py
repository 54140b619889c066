"""The boundaries between the packages are import rules, and the rules bite."""

import os
import shutil
import subprocess
import sys
import tomllib
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


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("vc_eval", "import vc_model", "independent"),
        ("vc_interp", "def late():\n    from vc_featurize import bank", "independent"),
        ("vc_data", "import vc_apps", "Nobody imports the apps"),
        ("vc_contracts", "import vc_model", "know none of the packages"),
        ("vc_data", "import jax", "neither JAX nor torch"),
        ("vc_model", "def late():\n    import torch", "does not know torch"),
    ],
)
def test_a_planted_import_is_caught(tmp_path, module, line, broken):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    sources = [*ROOT.glob("packages/*/src"), ROOT / "apps" / "src"]
    for source in sources:
        shutil.copytree(source, tmp_path / "src", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "src" / module / "planted.py").write_text(line + "\n")
    done = lint_imports(tmp_path, PYTHONPATH=str(tmp_path / "src"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{rule(broken)['name']} BROKEN" in done.stdout
    assert "1 broken" in done.stdout
    assert f"{module}.planted" in done.stdout
