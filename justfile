# Six verbs. Each is one line that also works without just.

test *ARGS:
    uv run pytest {{ARGS}}

lint:
    uv run ruff check . && uv run ruff format --check . && uv run pyrefly check && uv run lint-imports

docs:
    uv run sphinx-build -q -W --keep-going -b html docs docs/_build

pages:
    uv run vc-eval list --markdown > docs/metrics.md && uv run python -m vc_contracts.pages docs/contracts

floors:
    for package in packages/*; do uv run --isolated --no-project --resolution lowest-direct --with "$package" --with "pytest>=8.4" --with "hypothesis>=6.130" --with "pytest-xdist>=3.8" --with "scikit-learn>=1.7" pytest -n 0 "$package" || exit 1; done

quickstart *ARGS:
    uv run --no-dev vc quickstart {{ARGS}}
