"""Batches of like lengths under a budget of tokens, and what to do when one does not fit into memory."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from vc_featurize.errors import InputError

# A batch is closed when its longest text would make the padding of its shortest exceed this share.
MAX_PADDING = 0.15


def length_batches(lengths: Sequence[int], budget: int, max_padding: float = MAX_PADDING) -> Iterator[list[int]]:
    """Positions of texts in batches of like length, the longest batch first so that memory fails early.

    Args:
        lengths: Tokens per text.
        budget: Most tokens in a padded batch (texts x longest); one longer text makes a batch of its own.
        max_padding: Share of a text's length that may be added as padding; a few tokens are always allowed.

    Raises:
        InputError: If the budget is not positive.
    """
    if budget < 1:
        raise InputError(f"batch budget: expected at least 1 token, found {budget}.")
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batch: list[int] = []
    longest = 0
    for position in order.tolist():
        own = max(int(lengths[position]), 1)
        full = batch and (len(batch) + 1) * longest > budget
        uneven = batch and longest - own > max(max_padding * longest, 8) and len(batch) * longest > budget / 4
        if full or uneven:
            yield batch
            batch = []
        if not batch:
            longest = own
        batch.append(position)
    if batch:
        yield batch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the host or on an accelerator."""
    return isinstance(error, MemoryError) or type(error).__name__ in {"OutOfMemoryError", "OutOfMemoryException"}


def encode_halving(encode: Callable[[Sequence[str]], np.ndarray], texts: Sequence[str]) -> np.ndarray:
    """Encode a batch; where memory runs out, each half on its own.

    Raises:
        InputError: If a single text does not fit.
    """
    try:
        return encode(texts)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if len(texts) == 1:
            raise InputError(
                f"a text of {len(texts[0])} characters alone does not fit into memory. "
                "Use a smaller model, shorter windows or a larger machine."
            ) from error
    half = len(texts) // 2  # outside of `except`, so that the failed batch's tensors are freed first
    return np.concatenate([encode_halving(encode, texts[:half]), encode_halving(encode, texts[half:])])
