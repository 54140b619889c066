"""What a failure really is: a full disk and too little memory come in many disguises, some only in a text."""

import contextlib
import errno
import re
from collections.abc import Callable, Iterator

from vc_contracts.errors import Refusal

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL = re.compile(
    r"errno = (?:28|122|27)\b|no space left on device|disk quota exceeded|file too large|\(os error (?:28|122|27)\)",
    re.IGNORECASE,
)
_MEMORY = re.compile(
    r"cannot allocate memory|unable to allocate|out of memory|std::bad_alloc|bad allocation|can't start new thread"
    r"|RESOURCE_EXHAUSTED|failed to map segment|malloc of size|memory allocation of|errno = 12\b|\(os error 12\)",
    re.IGNORECASE,
)


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is a full disk or quota; HDF5 says so only in a text."""
    return any(getattr(one, "errno", None) in FULL or _FULL.search(_text(one)) for one in _chain(error))


def memory_is_short(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is too little memory."""
    return any(
        isinstance(one, MemoryError)
        or getattr(one, "errno", None) == errno.ENOMEM
        or (
            isinstance(one, RuntimeError | OSError | ImportError | SystemError | ValueError)
            and _MEMORY.search(_text(one))
        )
        for one in _chain(error)
    )


_READERS = re.compile(r"(?:^|/)(?:anndata|zarr|numcodecs|h5py)/")


def is_of_reading(error: BaseException | None) -> bool:
    """Whether a library failed inside that reads AnnData files: for a damaged one these raise nearly every type.

    A full disk and too little memory are none of that; ask for them first.
    """
    return any(_READERS.search(frame) for one in _chain(error) for frame in _files(one))


@contextlib.contextmanager
def damage_as(make: Callable[[str], Exception]) -> Iterator[None]:
    """What the libraries that read raise for damaged bytes, as one error that `make` makes of its first line."""
    try:
        yield
    except Exception as error:
        if isinstance(error, Refusal) or memory_is_short(error) or not is_of_reading(error):
            raise
        raise make((_text(error).splitlines() or [type(error).__name__])[0]) from error


def is_of_hdf5(error: BaseException | None) -> bool:
    """Whether HDF5 failed to write: it then ends the process with a crash, unless that leaves at once."""
    return any("h5py" in frame for one in _chain(error) for frame in _files(one))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # an error whose text fails is none of these
        return ""


def _files(error: BaseException) -> Iterator[str]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename
        trace = trace.tb_next
