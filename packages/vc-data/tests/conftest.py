from pathlib import Path

import pytest
from vc_data.convert.run import convert
from vc_data.screen.file import read_screen
from vc_data.testing import make_foreign, write_foreign


def find_shared() -> Path | None:
    """Folder shared/data beside the workspace, or None."""
    for parent in Path(__file__).resolve().parents:
        if (parent / "shared" / "data").is_dir():
            return parent / "shared" / "data"
    return None


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = find_shared()
    if folder is None:
        pytest.skip("no folder shared/data beside the workspace")
    return folder


@pytest.fixture(scope="session")
def foreign():
    return make_foreign()


@pytest.fixture(scope="session")
def screen_path(foreign, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("screen")
    write_foreign(foreign, folder / "toy.h5ad")
    convert(folder / "toy.h5ad", folder / "toy.zarr")
    return folder / "toy.zarr"


@pytest.fixture
def screen(screen_path):
    return read_screen(screen_path)
