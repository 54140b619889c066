"""Reading a zarr folder where it lies, chunk by chunk: nothing is kept on the local disk."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from vc_contracts.bucket import client
from vc_contracts.bucket.address import Address, parse
from vc_contracts.bucket.client import open_zarr_store
from vc_contracts.bucket.errors import LostError, plainly
from vc_contracts.bucket.remote import needed
from vc_contracts.errors import ContractError


def open_in_place(path: str | Path) -> Any:
    """The zarr group at an address, or None where a single object lies there.

    Raises:
        BucketError: Nothing is there, or it cannot be reached.
        ContractError: Objects without the head of a zarr folder: of another kind, or an upload that was cut off.
    """
    import zarr

    address = parse(path)
    items = needed(address)
    if "" in items:
        return None
    if "zarr.json" not in items:
        found = "objects without it: an upload that was cut off, or something else"
        raise ContractError(str(address), "zarr.json", "the head of a zarr folder", found, "Write it there again.")
    with plainly(address):
        return zarr.open_group(_store(address), mode="r")


def _store(address: Address) -> Any:
    """A zarr store that says in our words what goes wrong."""
    from zarr.storage import WrapperStore

    class PlainStore(WrapperStore):
        """Raises a `BucketError` where the client library raises its own kinds."""

        def __str__(self) -> str:
            return str(address)

        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            return await _patient(address, lambda: self._store.get(key, prototype, byte_range))

        async def get_partial_values(self, prototype: Any, key_ranges: Any) -> Any:
            ranges = list(key_ranges)
            return await _patient(address, lambda: self._store.get_partial_values(prototype, ranges))

    return PlainStore(open_zarr_store(address))


async def _patient(address: Address, ask: Callable[[], Awaitable[Any]]) -> Any:
    """As `client.attempt`, without a thread that waits."""
    wait = client.FIRST_WAIT
    for left in range(client.TRIES, -1, -1):
        try:
            with plainly(address):
                return await ask()
        except LostError as error:
            if not left or error.tried:
                raise
            await asyncio.sleep(wait)
            wait = min(2 * wait, client.LONGEST_WAIT)
    raise AssertionError("unreachable")
