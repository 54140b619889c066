"""Child process of test_sharding.py: eight fake devices; prints what the compiled model exchanges between them."""

import json
import os
import re

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from vc_model.biojepa.config import BioJepaConfig
from vc_model.biojepa.stages import bind, init_part
from vc_model.train.rules import RULES, make_mesh

cfg = BioJepaConfig.tiny(n_genes=96)
params = init_part("encoder", cfg, 0)
x = np.random.default_rng(0).gamma(1, 1, (4, cfg.n_genes)).astype(np.float32)
total = np.full(4, 8, np.float32)


def encode(params, x, total):
    return bind("encoder", cfg, params)(x, total)


alone = jax.jit(encode)(params, x, total)
with jax.set_mesh(make_mesh(data=2, gene=4)) as mesh:
    place = {axes: NamedSharding(jax.sharding.get_mesh(), RULES.spec(axes)) for axes in (("batch", "gene"), ("batch",))}
    shared = jax.device_put(x, place["batch", "gene"]), jax.device_put(total, place["batch",])
    compiled = jax.jit(encode).lower(params, *shared).compile()
    cut = compiled(params, *shared)
KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
exchanged = []
for line in compiled.as_text().splitlines():
    made = re.match(rf"\s*(?:ROOT )?%\S+ = (.*?) ({'|'.join(KINDS)})(?:-start)?\(", line)
    if made:
        shapes = re.findall(r"\w+\[([\d,]*)\]", made[1])
        exchanged.append((made[2], sum(int(np.prod([int(n) for n in shape.split(",") if n])) for shape in shapes)))
print(
    json.dumps(
        {
            "difference": float(jnp.abs(np.asarray(cut) - np.asarray(alone)).max()),
            "exchanged": exchanged,
            "state": (cfg.width // cfg.n_heads) * cfg.width + cfg.width,
            "devices": len(cut.sharding.device_set),
        }
    )
)
