"""Latents left on disk: the same numbers by blocks, and what is refused."""

import numpy as np
import pytest
from vc_interp.errors import ContractError, InputError
from vc_interp.files.stored import check_enough, open_latents
from vc_interp.latents import read_latents
from vc_interp.sae.order import batches, make_order
from vc_interp.testing import write_rows


@pytest.mark.parametrize("name", ["x.zarr", "x.h5ad"])
def test_blocks_rows_and_moments_are_those_of_the_whole(name, tmp_path, monkeypatch):
    x = np.random.default_rng(0).standard_normal((300, 5)).astype(np.float32) + 3
    write_rows(tmp_path / name, x, labels=("control", "A") * 150)
    monkeypatch.setattr("vc_interp.files.stored.BLOCK_BYTES", 64 * 5 * 4)
    found = open_latents(tmp_path / name)
    assert found.block_rows == 64 and len(list(found.blocks())) == 5
    np.testing.assert_array_equal(np.concatenate([block for _, block in found.blocks()]), x)
    rows = np.array([299, 0, 64, 63, 0])
    np.testing.assert_array_equal(found.take(rows), x[rows])
    np.testing.assert_allclose(found.mean_d, x.mean(axis=0, dtype=float), rtol=1e-9)
    np.testing.assert_allclose(found.var_d, x.var(axis=0, dtype=float), rtol=1e-6)
    assert found.mean_norm == pytest.approx(np.linalg.norm(x, axis=1).mean(), rel=1e-6)
    assert set(found.labels) == {"control", "A"} and found.content
    assert read_latents(tmp_path / name).labels == tuple(found.labels)


def test_damage_and_nan_are_refused(tmp_path):
    import zarr

    x = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
    for at, (value, says) in enumerate([(np.nan, "finite"), (7.0, "hashes")]):
        write_rows(tmp_path / f"{at}.zarr", x)
        zarr.open_group(tmp_path / f"{at}.zarr", mode="r+")["X"][3, 2] = value
        with pytest.raises(ContractError, match=says):
            open_latents(tmp_path / f"{at}.zarr")
    with pytest.raises(ContractError, match="nothing"):
        open_latents(tmp_path / "absent.zarr")


def test_constant_and_too_few_rows_are_refused(tmp_path):
    write_rows(tmp_path / "c.zarr", np.ones((200, 4), np.float32))
    with pytest.raises(InputError, match="constant"):
        check_enough(open_latents(tmp_path / "c.zarr"), 8)
    write_rows(tmp_path / "f.zarr", np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32))
    found = open_latents(tmp_path / "f.zarr")
    with pytest.raises(InputError, match="at least 64 rows for 16 features"):
        check_enough(found, 16)
    check_enough(found, 15)


def test_the_order_is_a_function_of_seed_and_step(tmp_path):
    x = np.arange(1000, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    write_rows(tmp_path / "x.zarr", x)
    stored = open_latents(tmp_path / "x.zarr")
    order = make_order(stored, 30, 5)
    order = type(order)(order.n_rows, 30, 64, 4, 5)  # small windows
    run = batches(stored, order)
    first = [next(run)[:, 0] for _ in range(80)]
    assert all(len(set(batch)) == 30 for batch in first)
    for step in (0, 1, 33, 79):
        again = batches(stored, order, step)
        np.testing.assert_array_equal(next(again)[:, 0], first[step])
        again.close()
    run.close()
    per_epoch = sum(order.rows_in(blocks) // 30 for blocks in order.windows(0))
    seen = np.concatenate(first[:per_epoch])
    assert len(set(seen)) == len(seen) >= 900  # no row twice in an epoch, few left out
    assert not np.array_equal(np.sort(first[0]), first[0])
