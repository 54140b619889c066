"""The loader as numbered steps that other processes can bring: for torch's DataLoader, or any pool of processes."""

import os
from collections.abc import Mapping
from typing import Any

from vc_data.loader.batch import CellBatch, ProfileBatch, SetBatch
from vc_data.loader.eligible import LoaderError
from vc_data.loader.pipeline import Loader


class LoaderSteps:
    """`steps[n]` is the batch of step n; each process opens the screens for itself when it brings its first one.

    What travels to a worker is the names of the files and the settings: no open file, thread or buffer. The batches are those
    of `Loader.open` with the same arguments, whoever brings them. Workers have to be spawned: the store that the screens lie
    in (tensorstore) has threads, and ends a process that was forked after it was used.

    For example, with torch (the batch is made here, so `batch_size=None`):

        steps = LoaderSteps(["k562.zarr"], ["split.json"], mode="cells", epochs=1)
        for batch in DataLoader(steps, batch_size=None, num_workers=2, multiprocessing_context="spawn"): ...
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        """Open once here, so that a wrong file or setting is refused before any worker starts.

        Args:
            args: As `Loader.open` takes them.
            options: As `Loader.open` takes them; `epochs` is needed, as there has to be an end.

        Raises:
            ContractError, LoaderError, LeakError: As `Loader.open`.
            ValueError: If `epochs` is not given.
        """
        if options.get("epochs") is None:
            raise ValueError("LoaderSteps: epochs: expected a number, found none. Pass epochs=1 for one pass.")
        # Each worker prepares one batch at a time; several of them are the threads.
        self._args, self._options = args, options | {"read_threads": 0}
        self._loader: Loader | None = None
        self._process = 0
        self._length = len(self.loader)

    @property
    def loader(self) -> Loader:
        """The loader of this process.

        Raises:
            LoaderError: In a process that was forked.
        """
        if self._process not in (0, os.getpid()):
            found, do = "a forked process", 'Pass multiprocessing_context="spawn" to the DataLoader.'
            raise LoaderError("workers", "start method", "spawned processes", found, do)
        if self._loader is None:
            self._loader, self._process = Loader.open(*self._args, **self._options), os.getpid()
        return self._loader

    def __len__(self) -> int:
        """Number of steps of all epochs."""
        return self._length

    def __getitem__(self, step: int) -> SetBatch | CellBatch | ProfileBatch:
        """The batch of a step.

        Raises:
            IndexError: No such step.
        """
        return self.loader[step]

    def __getstate__(self) -> Mapping[str, Any]:
        """Names and settings; what is open stays here."""
        return self.__dict__ | {"_loader": None, "_process": 0}
