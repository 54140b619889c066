"""The set mapper once more in torch, from the equations of model C, for parity."""

import jax
import numpy as np
import torch
import torch.nn.functional as fun


class TorchMapper:
    """Reads the JAX parameters as leaves that require gradients, by their JAX path."""

    def __init__(self, cfg, params):
        self.cfg = cfg
        self.leaves = {
            jax.tree_util.keystr(path): torch.tensor(np.asarray(leaf), requires_grad=True)
            for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        }

    def get(self, *keys):
        return self.leaves["".join(f"['{key}']" for key in keys)]

    def mlp(self, name, x):
        for at in range(self.cfg.mlp_layers):
            x = x @ self.get(name, "layers", at, "kernel") + self.get(name, "layers", at, "bias")
            x = fun.gelu(x) if at + 1 < self.cfg.mlp_layers else x
        return x

    @staticmethod
    def norm(x, scale):
        return fun.rms_norm(x, x.shape[-1:], scale, 1e-6)

    def __call__(self, batch):
        cfg = self.cfg
        hidden = self.mlp("cells", batch["x_control"])
        known = (batch["pert_id"] > 0).float()[:, None]
        action = self.get("perturbation")[batch["pert_id"].long()] * known + self.mlp("features", batch["pert_feature"])
        x = hidden + action[:, None] + self.get("batch")[batch["batch_id"].long()]
        x = torch.cat([x, self.get("confidence_token").expand(len(x), 1, -1)], dim=1)
        for at in range(cfg.n_layers):
            p = lambda name, at=at: self.get("backbone", name)[at]  # noqa: E731
            q, k, v = (
                part.unflatten(-1, (cfg.n_heads, -1)).transpose(1, 2)
                for part in (self.norm(x, p("norm1_scale")) @ p("qkv_kernel")).chunk(3, -1)
            )
            x = x + fun.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2) @ p("out_kernel")
            gate, up = (self.norm(x, p("norm2_scale")) @ p("up_kernel")).chunk(2, -1)
            x = x + (fun.silu(gate) * up) @ p("down_kernel")
        x = self.norm(x, self.get("backbone", "last_scale"))
        state, last = x[:, :-1], x[:, -1]
        confidence = (last @ self.get("confidence_kernel") + self.get("confidence_bias"))[:, 0]
        return fun.relu(self.mlp("output", state + hidden)), state, confidence

    def loss(self, batch):
        y, _, confidence = self(batch)
        case = batch["x_case"]
        if self.cfg.loss == "energy":
            own = torch.stack([distance(u, u) for u in y])
            other = torch.stack([distance(u, u) for u in case])
            each = torch.stack([torch.cdist(u, v).mean() for u, v in zip(y, case, strict=True)]) - (own + other) / 2
        else:
            difference = y.mean(1) - case.mean(1)
            each = (difference**2 if self.cfg.loss == "pseudobulk" else difference.abs()).mean(-1)
        return each.mean() + self.cfg.confidence_weight * ((confidence - 10 * each.detach()) ** 2).mean()


def distance(x, y):
    """Mean distance of all pairs, without the gradient of a cell's distance to itself."""
    n = len(x)
    off = ~torch.eye(n, dtype=torch.bool)
    left, right = x[:, None].expand(n, n, -1)[off], y[None].expand(n, n, -1)[off]
    return (left - right).norm(dim=-1).sum() / n**2
