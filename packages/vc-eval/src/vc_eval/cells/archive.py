"""The tar that both challenges take: members in a stated order, cells as zstd-compressed .h5ad, the same bytes every time."""

import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from vc_eval.contracts import write_whole

if TYPE_CHECKING:
    import anndata


def write_members(path: str | Path, members: "dict[str, anndata.AnnData | bytes]") -> None:
    """Write an uncompressed tar without users and times; cells become a zstd-compressed h5ad.

    Args:
        path: The file; replaced when whole.
        members: Name -> content, in the order of the tar.
    """
    import pyarrow

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=path.parent) as folder,
        write_whole(path, overwrite=True) as temporary,
        tarfile.open(temporary, "w") as tar,
    ):
        for name, content in members.items():
            packed = Path(folder) / "member"
            if isinstance(content, bytes):
                packed.write_bytes(content)
            else:
                plain = Path(folder) / "pred.h5ad"
                content.write_h5ad(plain)
                with plain.open("rb") as source, pyarrow.CompressedOutputStream(str(packed), "zstd") as target:
                    shutil.copyfileobj(source, target, 1 << 24)
            member = tarfile.TarInfo(name)
            member.size = packed.stat().st_size
            with packed.open("rb") as file:
                tar.addfile(member, file)
