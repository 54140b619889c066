from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def side_dpath() -> Path:
    """Real side information, beside the workspace root."""
    for folder in Path(__file__).resolve().parents:
        if (folder / "shared" / "data" / "side").is_dir():
            return folder / "shared" / "data" / "side"
    pytest.skip("no shared/data beside the workspace: real-data test skipped")
