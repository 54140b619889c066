"""The tar that both challenges take: members in a stated order, cells as zstd-compressed .h5ad, the same bytes every time."""

import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from vc_contracts.whole import work_folder

from vc_eval.contracts import write_whole

if TYPE_CHECKING:
    import anndata


def write_members(path: str | Path, members: "dict[str, anndata.AnnData | bytes]", *, overwrite: bool = False) -> None:
    """Write an uncompressed tar without users and times; cells become a zstd-compressed h5ad.

    Args:
        path: The file.
        members: Name -> content, in the order of the tar.
        overwrite: Replace an earlier archive.
    """
    import pyarrow

    with (
        write_whole(path, kind="archive", overwrite=overwrite, make_parent=True) as temporary,
        work_folder(temporary) as folder,
        tarfile.open(temporary, "w") as tar,
    ):
        for name, content in members.items():
            packed = folder / "member"
            if isinstance(content, bytes):
                packed.write_bytes(content)
            else:
                plain = folder / "pred.h5ad"
                content.write_h5ad(plain)
                with plain.open("rb") as source, pyarrow.CompressedOutputStream(str(packed), "zstd") as target:
                    shutil.copyfileobj(source, target, 1 << 24)
            member = tarfile.TarInfo(name)
            member.size = packed.stat().st_size
            with packed.open("rb") as file:
                tar.addfile(member, file)
