"""One planted file of activations and the dictionary that made it, shared by all tests of the package."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from vc_interp.files.stored import open_latents
from vc_interp.latents import Latents, write_latents
from vc_interp.sae.dictionary import read_dictionary
from vc_interp.testing import plant, write_rows

GENES = tuple(f"G{at}" for at in range(40))


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """Six orthogonal directions; perturbation P_k adds direction k; genes 5k..5k+4 read direction k."""
    folder = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(0)
    d, k, n = 8, 6, 360
    truth = np.eye(k, d, dtype=np.float32)
    label = np.array(["control", *(f"P{at}" for at in range(k))])[np.arange(n) % (k + 1)]
    code = (rng.random((n, k)) < 0.15) * 0.5
    for at in range(k):
        code[label == f"P{at}", at] += 1.0
    x = (code @ truth + 0.01 * rng.standard_normal((n, d))).astype(np.float32)
    write_rows(folder / "x.zarr", x, labels=tuple(label.tolist()))
    sae = folder / "sae"
    sae.mkdir()
    weights = {"W_enc": np.ascontiguousarray(truth.T), "b_enc": np.full(k, -0.1, np.float32), "W_dec": truth,
               "b_dec": np.zeros(d, np.float32), "threshold": np.zeros(k, np.float32)}  # fmt: skip
    save_file(weights, sae / "sae_weights.safetensors")
    (sae / "cfg.json").write_text(json.dumps({"architecture": "jumprelu", "d_in": d, "d_sae": k}))
    gradient = np.zeros((len(GENES), d), np.float32)
    for at in range(k):
        gradient[5 * at : 5 * at + 5, at] = 1.0
    gradient += 0.02 * rng.standard_normal(gradient.shape).astype(np.float32)
    rows = Latents(values_rd=gradient, rows=GENES, kinds=("gene",) * len(GENES), dims=tuple(f"d{i}" for i in range(d)),
                   site="gradient/planted", model="planted")  # fmt: skip
    write_latents(folder / "gradient.zarr", rows)
    sets = {f"SET{at}": GENES[5 * at : 5 * at + 5] for at in range(k)}
    (folder / "sets.gmt").write_text("".join(f"{name}\tx\t" + "\t".join(genes) + "\n" for name, genes in sets.items()))
    pairs = [(f"P{at}", gene) for at in range(k) for gene in sets[f"SET{at}"]]
    (folder / "targets.tsv").write_text("tf\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in pairs))
    return folder


@pytest.fixture(scope="session")
def stored(planted):
    return open_latents(planted / "x.zarr")


@pytest.fixture(scope="session")
def dictionary(planted):
    return read_dictionary(planted / "sae")


@pytest.fixture(scope="session")
def sparse(tmp_path_factory):
    """Rows with a planted dictionary that a small autoencoder finds in a few hundred steps."""
    folder = tmp_path_factory.mktemp("sparse")
    found = plant(4000, 24, 24, 2.0)
    write_rows(folder / "x.zarr", found.x_nd)
    return found, open_latents(folder / "x.zarr")
