"""Each package, built as a wheel and installed with nothing but what it declares."""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml"))
EXCLUDE_NEWER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["exclude-newer"]
HEAVY = ("anndata", "pandas", "jax", "scipy", "numba", "torch", "zarr", "h5py", "matplotlib", "rdkit", "pyarrow")


def run(*command: object, **options) -> subprocess.CompletedProcess:
    # Neither the checkout nor the surrounding environment may help the installed package.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True, **options)


def uv(*arguments: object, cwd: Path) -> None:
    done = run(sys.executable, "-m", "uv", *arguments, cwd=cwd)
    assert done.returncode == 0, f"uv {arguments[0]}: {done.stderr}"


@pytest.fixture(scope="module")
def environment():
    """A folder with every wheel and an empty environment.

    Not in a folder of pytest, which may lie in memory: on the disk of uv's cache its files are links, not copies.
    """
    with tempfile.TemporaryDirectory(prefix="alone-") as name:
        folder = Path(name)
        uv("build", "--wheel", "--quiet", "--all-packages", "--out-dir", folder / "dist", ROOT, cwd=folder)
        uv("venv", "--quiet", "--python", sys.executable, folder / "env", cwd=folder)
        yield folder


@pytest.fixture(scope="module", params=PACKAGES)
def installed(request, environment) -> tuple[str, Path]:
    """A package, and the Python of an environment that holds its wheel, its declared dependencies and nothing else.

    One environment is changed from package to package, so that what Python compiled of the dependencies is kept.
    """
    python = environment / "env" / "bin" / "python"
    names = sorted({request.param, "vc-contracts"})
    wheels = [wheel for name in names for wheel in (environment / "dist").glob(f"{name.replace('-', '_')}-*.whl")]
    assert len(wheels) == len(names)
    exactly = ("--exact", "--exclude-newer", EXCLUDE_NEWER)
    uv("pip", "install", "--quiet", "--python", python, *exactly, *wheels, cwd=environment)
    return request.param, python


def test_every_module_imports(installed):
    package, python = installed
    module = package.replace("-", "_")
    code = (
        f"import importlib, pkgutil, {module}\n"
        f"for found in pkgutil.walk_packages({module}.__path__, '{module}.'): importlib.import_module(found.name)\n"
        f"print({module}.__file__)"
    )
    done = run(python, "-c", code, cwd=python.parent)
    assert done.returncode == 0, done.stderr
    assert "site-packages" in done.stdout


def test_no_sibling_and_no_torch_is_there(installed):
    package, python = installed
    siblings = [other.replace("-", "_") for other in (*PACKAGES, "vc-apps") if other not in (package, "vc-contracts")]
    code = f"from importlib.util import find_spec; print([m for m in {[*siblings, 'torch']} if find_spec(m)])"
    done = run(python, "-c", code, cwd=python.parent)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_console_script_help_names_its_commands(installed):
    package, python = installed
    done = run(python.with_name(package), "--help", cwd=python.parent)
    assert done.returncode == 0, done.stderr
    commands = set(re.search(r"\{(.*?)\}", done.stdout, re.DOTALL)[1].replace("\n", "").replace(" ", "").split(","))
    in_readme = set(
        re.findall(rf"^{package} ([a-z][\w-]*)", (ROOT / "packages" / package / "README.md").read_text(), re.M)
    )
    assert in_readme, f"packages/{package}/README.md shows no command of {package}"
    assert in_readme <= commands, f"README shows {in_readme - commands}, --help knows {commands}"


def test_help_imports_nothing_heavy(installed):
    """What makes `--help` quick, without a clock."""
    package, python = installed
    code = (
        "import sys; from importlib.metadata import entry_points\n"
        f"(script,) = entry_points(group='console_scripts', name={package!r})\n"
        f"sys.argv = [{package!r}, '--help']\n"
        "try: script.load()()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        f"print('HEAVY', sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = run(python, "-c", code, cwd=python.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"
