"""BioJEPA v0.6 as published, written in torch from the specification's equations: the reference of the parity tests.

Plain and separate on purpose: one matrix per projection, a list of blocks, no fusion. `load` copies the parameters of
our model into it, and back from it come outputs, losses and gradients to compare.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

EPS = 1e-6


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        x32 = x.float()
        return (x32 * torch.rsqrt((x32**2).mean(-1, keepdim=True) + EPS) * self.weight).to(x.dtype)


class LinearAttention(nn.Module):
    def __init__(self, width, n_heads, *, is_self):
        super().__init__()
        self.n_heads, self.is_self = n_heads, is_self
        self.q, self.k, self.v, self.g, self.c = (nn.Linear(width, width) for _ in range(5))

    def forward(self, x, y):
        q, k, v = (self._heads(u) for u in (self.q(x), self.k(y), self.v(y)))
        q, k = functional.elu(q) + 1, functional.elu(k) + 1
        state = k.transpose(-1, -2) @ v
        o = (q @ state) / (q @ k.sum(2).unsqueeze(-1) + EPS)
        o = o.transpose(1, 2).reshape(x.shape)
        if self.is_self:
            o = torch.sigmoid(self.g(x)) * o
        return self.c(o)

    def _heads(self, u):
        return u.view(u.shape[0], u.shape[1], self.n_heads, -1).transpose(1, 2)


class SwiGLU(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.w1, self.w2 = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.w3 = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        return self.w3(functional.silu(self.w1(x)) * self.w2(x))


class Block(nn.Module):
    def __init__(self, cfg, *, cross):
        super().__init__()
        self.cross = LinearAttention(cfg.width, cfg.n_heads, is_self=False) if cross else None
        self.norm0 = RMSNorm(cfg.width) if cross else None
        self.norm1, self.norm2 = RMSNorm(cfg.width), RMSNorm(cfg.width)
        self.attention = LinearAttention(cfg.width, cfg.n_heads, is_self=True)
        self.mlp = SwiGLU(cfg.width, cfg.hidden)

    def forward(self, h, action=None):
        if self.cross is not None:
            h = h + self.cross(self.norm0(h), action)
        x = self.norm1(h)
        h = h + self.attention(x, x)
        return h + self.mlp(self.norm2(h))


class Encoder(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        d = cfg.width
        self.gene = nn.Parameter(torch.zeros(cfg.n_genes, d))
        self.w_s, self.w_f = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
        self.b = nn.Parameter(torch.zeros(d // 2))
        self.film1, self.film2 = nn.Linear(d, d), nn.Linear(d, 2 * d)
        self.mask_token = nn.Parameter(torch.zeros(d))
        self.total = nn.Linear(1, d)
        self.blocks = nn.ModuleList(Block(cfg, cross=False) for _ in range(cfg.n_layers))
        self.norm = RMSNorm(d)

    def forward(self, x, total, masked=None):
        if masked is not None:
            x = x.masked_fill(masked, 0.0)
        angle = 2 * math.pi * (self.w_f * x).unsqueeze(-1) * self.b
        f = torch.cat([torch.sin(angle), torch.cos(angle)], -1)
        gamma, beta = self.film2(functional.gelu(self.film1(f))).chunk(2, -1)
        h = (self.gene * (self.w_s * x).unsqueeze(-1)) * (1 + gamma) + beta
        if masked is not None:
            h = torch.where(masked.unsqueeze(-1), self.mask_token, h)
        h = h + self.total(total.unsqueeze(-1)).unsqueeze(1)
        for block in self.blocks:
            h = block(h)
        return self.norm(h)


class MaskedPredictor(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.blocks = nn.ModuleList(Block(cfg, cross=False) for _ in range(cfg.n_mask_layers))
        self.norm, self.out = RMSNorm(cfg.width), nn.Linear(cfg.width, cfg.width)

    def forward(self, z):
        for block in self.blocks:
            z = block(z)
        return self.out(self.norm(z))


class Composer(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        a = cfg.action_width
        self.cfg = cfg
        self.seq = nn.ModuleList(nn.Linear(width, a) for width in cfg.modality_widths)
        self.target = nn.Linear(cfg.target_width, a)
        if cfg.fusion == "concat_mlp":
            self.fuse1, self.fuse2 = nn.Linear(2 * a, 2 * a), nn.Linear(2 * a, a)
        self.unknown = nn.Parameter(torch.zeros(a))
        self.mode = nn.Embedding(cfg.n_modes, cfg.mode_width)
        self.scale, self.shift = nn.Linear(cfg.mode_width, a), nn.Linear(cfg.mode_width, a)
        self.query = nn.Parameter(torch.zeros(1, 1, a))
        self.pool = nn.MultiheadAttention(a, cfg.pool_heads, batch_first=True)

    def paths(self, action):
        seq = torch.zeros(*action["modality"].shape, self.cfg.action_width)
        for at, (project, width) in enumerate(zip(self.seq, self.cfg.modality_widths, strict=True)):
            pick = action["has_seq"] & (action["modality"] == at)
            seq[pick] = project(action["seq_emb"][pick][:, :width])
        target = torch.zeros_like(seq)
        target[action["has_target"]] = self.target(action["target_emb"][action["has_target"]])
        return seq, target

    def film(self, content, mode):
        v = self.mode(mode)
        return content * (1 + self.scale(v)) + self.shift(v)

    def forward(self, action):
        seq, target = self.paths(action)
        content = seq + target
        if self.cfg.fusion == "concat_mlp":
            both = action["has_seq"] & action["has_target"]
            joined = self.fuse2(functional.gelu(self.fuse1(torch.cat([seq, target], -1))))
            content = torch.where(both.unsqueeze(-1), joined, content)
        known = action["has_seq"] | action["has_target"]
        content = torch.where(known.unsqueeze(-1), content, self.unknown)
        return self.film(content, action["mode"]) * action["pert_mask"].unsqueeze(-1)

    def embed_paths(self, action):
        query = self.query.expand(action["mode"].shape[0], -1, -1)
        out = []
        for path in self.paths(action):
            token = self.film(path, action["mode"])
            pooled, _ = self.pool(query, token, token, key_padding_mask=~action["pert_mask"], need_weights=False)
            out.append(pooled[:, 0])
        return out


class Predictor(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        a, d = cfg.action_width, cfg.width
        self.in1, self.in_norm, self.in2 = nn.Linear(a, d), RMSNorm(d), nn.Linear(d, d)
        self.query = nn.Embedding(cfg.n_genes, d)
        self.blocks = nn.ModuleList(Block(cfg, cross=True) for _ in range(cfg.n_layers))
        self.norm = RMSNorm(d)
        self.mean, self.logvar = nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, z, action):
        act = self.in2(functional.gelu(self.in_norm(self.in1(action))))
        index = torch.arange(z.shape[1])
        s = torch.cat([z, self.query(index).expand(z.shape[0], -1, -1)], 1)
        for block in self.blocks:
            s = block(s, act)
        s = self.norm(s)[:, z.shape[1] :]
        return self.mean(s), self.logvar(s).float().clamp(-10, 2)


class Decoder(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.out = nn.Linear(cfg.width, 1)

    def forward(self, z):
        return self.out(z).squeeze(-1)


PARTS = {
    "encoder": Encoder,
    "maskpred": MaskedPredictor,
    "composer": Composer,
    "predictor": Predictor,
    "decoder": Decoder,
}


def vic(x, y):
    """Variance and covariance terms of two sets of tokens, summed."""
    std = cov = 0.0
    for z in (x, y):
        flat = z.reshape(-1, z.shape[-1])
        std = std + functional.relu(1 - torch.sqrt(flat.var(0) + 1e-4)).mean()
        centred = flat - flat.mean(0)
        c = centred.T @ centred / (len(flat) - 1)
        cov = cov + (c - torch.diag(torch.diagonal(c))).pow(2).sum() / z.shape[-1]
    return std, cov


def pretrain_loss(cfg, encoder, maskpred, teacher, batch, masked):
    with torch.no_grad():
        target = teacher(batch["x"], batch["total"])
    student = encoder(batch["x"], batch["total"], masked)
    sim = (maskpred(student) - target).abs()[masked].mean()
    std, cov = vic(student, target)
    return cfg.sim * sim + cfg.std * std + cfg.cov * cov


def align_loss(cfg, composer, batch):
    seq, target = (functional.normalize(u, dim=-1) for u in composer.embed_paths(batch))
    return functional.cross_entropy(seq @ target.T / cfg.tau, torch.arange(len(seq)))


def ac_loss(cfg, predictor, composer, student, teacher, batch, masked):
    with torch.no_grad():
        context = student(batch["x_control"], batch["total_control"], masked)
        target = teacher(batch["x_case"], batch["total_case"])
    mu, logvar = predictor(context, composer(batch))
    weight = torch.exp(cfg.beta_nll * logvar).detach()
    nll = (weight * 0.5 * (logvar + (target - mu) ** 2 / logvar.exp()))[masked].mean()
    std, cov = vic(mu, target)
    return cfg.sim * nll + cfg.std * std + cfg.cov * cov


def decode_loss(cfg, decoder, student, predictor, composer, batch):
    with torch.no_grad():
        context = student(batch["x_control"], batch["total_control"])
        mu, _ = predictor(context, composer(batch))
    delta = decoder(mu) - decoder(context)
    return ((delta - (batch["x_case"] - batch["x_control"])) ** 2).mean()


def make(part, cfg, params):
    """A module of the twin with our parameters."""
    module = PARTS[part](cfg)
    wanted = names(part, cfg, params)
    assert set(wanted) == {name for name, _ in module.named_parameters()}
    with torch.no_grad():
        for name, value in module.named_parameters():
            assert value.shape == wanted[name].shape, (name, value.shape, wanted[name].shape)
            value.copy_(torch.from_numpy(np.array(wanted[name])))
    return module


def gradients(module):
    """Parameter name -> gradient; zero where none arrived."""
    return {
        name: np.zeros(value.shape) if value.grad is None else value.grad.numpy()
        for name, value in module.named_parameters()
    }


def names(part, cfg, params):
    """Our parameters (or their gradients) under the twin's names and shapes."""
    params = _numpy(params)
    out = {}

    def linear(name, p):
        out[f"{name}.weight"], out[f"{name}.bias"] = p["kernel"].T, p["bias"]

    def blocks(p):
        d = cfg.width
        for at in range(len(p["norm1_scale"])):
            q = {key: value[at] for key, value in p.items()}
            here = f"blocks.{at}"
            out[f"{here}.norm1.weight"], out[f"{here}.norm2.weight"] = q["norm1_scale"], q["norm2_scale"]
            for place, name in enumerate("qkvg"):
                columns = slice(place * d, (place + 1) * d)
                linear(
                    f"{here}.attention.{name}",
                    {"kernel": q["qkvg_kernel"][:, columns], "bias": q["qkvg_bias"][columns]},
                )
            linear(f"{here}.attention.c", {"kernel": q["out_kernel"], "bias": q["out_bias"]})
            out[f"{here}.mlp.w1.weight"], out[f"{here}.mlp.w2.weight"] = np.split(q["up_kernel"].T, 2)
            out[f"{here}.mlp.w3.weight"] = q["down_kernel"].T
            if "cross_norm_scale" in q:
                out[f"{here}.norm0.weight"] = q["cross_norm_scale"]
                for theirs, ours in (("q", "q"), ("g", "g"), ("c", "out")):
                    pair = {kind: q[f"cross_{ours}_{kind}"] for kind in ("kernel", "bias")}
                    linear(f"{here}.cross.{theirs}", pair)
                for place, name in enumerate("kv"):
                    columns = slice(place * d, (place + 1) * d)
                    pair = {"kernel": q["cross_kv_kernel"][:, columns], "bias": q["cross_kv_bias"][columns]}
                    linear(f"{here}.cross.{name}", pair)

    if "blocks" in params:
        blocks(params["blocks"])
    if part == "encoder":
        direct = {"gene": "gene_embedding", "w_s": "linear_scale", "w_f": "fourier_scale", "b": "fourier"}
        out |= {theirs: params[ours] for theirs, ours in direct.items()}
        out["mask_token"], out["norm.weight"] = params["mask_token"], params["norm_scale"]
        linear("film1", params["film_in"]), linear("film2", params["film_out"]), linear("total", params["total"])
    elif part == "maskpred":
        out["norm.weight"] = params["norm_scale"]
        linear("out", params["out"])
    elif part == "predictor":
        linear("in1", params["action_in"]), linear("in2", params["action_out"])
        linear("mean", params["mean"]), linear("logvar", params["logvar"])
        out["in_norm.weight"], out["norm.weight"] = params["action_norm_scale"], params["norm_scale"]
        out["query.weight"] = params["query"]
    elif part == "decoder":
        linear("out", params["out"])
    elif part == "composer":
        for at, name in enumerate(("dna", "protein", "chemical")):
            linear(f"seq.{at}", params["seq"][name])
        for theirs, ours in (("target", "target"), ("scale", "scale"), ("shift", "shift")):
            linear(theirs, params[ours])
        if cfg.fusion == "concat_mlp":
            linear("fuse1", params["fuse_in"]), linear("fuse2", params["fuse_out"])
        pool = params["pool"]
        out["unknown"], out["mode.weight"] = params["unknown"], params["mode_vectors"]
        out["query"] = pool["query"][None, None]
        out["pool.in_proj_weight"] = np.concatenate([pool[name]["kernel"].T for name in "qkv"])
        out["pool.in_proj_bias"] = np.concatenate([pool[name]["bias"] for name in "qkv"])
        linear("pool.out_proj", pool["out"])
    return out


def _numpy(tree):
    return {key: _numpy(value) if isinstance(value, dict) else np.asarray(value) for key, value in tree.items()}
