"""Moving a finished row to memory without reading that memory first (stores that go past the cache).

A dense batch is larger than the caches and is not read soon. An ordinary store first brings the old line in from memory,
which is half of the time of densifying; LLVM's `nontemporal` mark leaves that out on CPUs that can, and is an ordinary
store elsewhere. Such stores are ordered by a fence before the arrays are handed to anyone.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_WIDTH = 8
"""Floats per store, 32 bytes."""


@intrinsic
def _stream(typingctx, target, source):
    """Move 8 floats between addresses (the target's a multiple of 32) and leave zeros behind."""

    def codegen(context, builder, signature, args):
        vector = ir.VectorType(ir.FloatType(), _WIDTH)
        target, source = (builder.inttoptr(address, vector.as_pointer()) for address in args)
        store = builder.store(builder.load(source, align=4), target, align=4 * _WIDTH)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        builder.store(ir.Constant(vector, [0.0] * _WIDTH), source, align=4)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp), codegen


@intrinsic
def finish_moves(typingctx):
    """Make all moves of this thread visible to others before anything that follows."""

    def codegen(context, builder, signature, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@njit(nogil=True)
def move_row(out_g, row_g):
    """Move `row_g` to `out_g` (both [g] float32, contiguous) and leave zeros behind; `finish_moves` after the last."""
    n = len(out_g)
    target, source = out_g.ctypes.data, row_g.ctypes.data
    head = min(n, -(target >> 2) & (_WIDTH - 1))
    body = head + (n - head) // _WIDTH * _WIDTH
    for i in range(head):
        out_g[i], row_g[i] = row_g[i], np.float32(0)
    for i in range(head, body, _WIDTH):
        _stream(target + 4 * i, source + 4 * i)  # pyrefly: ignore[missing-argument] numba fills in the typing context
    for i in range(body, n):
        out_g[i], row_g[i] = row_g[i], np.float32(0)
