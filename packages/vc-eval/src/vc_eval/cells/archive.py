"""The tar that both challenges take: members in a stated order, cells as zstd-compressed .h5ad, the same bytes every time."""

import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from vc_contracts.whole import work_folder

from vc_eval.contracts import write_whole
from vc_eval.errors import ContractError

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


def unpack_cells(path: str | Path, packed: "IO[bytes]") -> "anndata.AnnData":
    """The cells of an archive's member, unpacked beside nothing and read under guard.

    Args:
        path: The archive, for messages.
        packed: The member, zstd.

    Raises:
        ContractError: It cannot be unpacked or read, or is larger than the disk.
    """
    import pyarrow
    from vc_contracts.errors import raised_as
    from vc_contracts.store import read_anndata

    remedy = "Write the archive again with `vc-eval prep`."
    with tempfile.TemporaryDirectory() as folder:
        plain, room = Path(folder) / "pred.h5ad", shutil.disk_usage(folder).free
        try:
            with pyarrow.CompressedInputStream(packed, "zstd") as source, plain.open("wb") as target:
                while block := source.read(1 << 24):
                    room -= len(block)
                    if room < 0:
                        raise ContractError(path, "cells", "what fits on the disk", "more, unpacked", remedy)
                    target.write(block)
        except (OSError, ValueError) as error:
            if isinstance(error, ContractError):
                raise
            first = (str(error).splitlines() or [""])[0]
            raise ContractError(path, "cells", "a compressed .h5ad", first, remedy) from None
        with raised_as(ContractError):
            return read_anndata(plain)
