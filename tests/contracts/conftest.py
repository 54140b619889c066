import sys
from pathlib import Path

import pytest

# The corpus is a script too, so it is imported from its folder rather than as part of a package.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    from make_corpus import make_corpus

    return make_corpus(tmp_path_factory.mktemp("corpus"))
