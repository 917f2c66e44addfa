"""All batch norms' parameters computed together, and each applied as one node."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.nets import biggan, biggan_deep
from zoo.nets.layers import ConditionalBatchNorm2d, StandingBatchNorm2d

APPLY = "bn"


class NormApplied(nn.Module):
    def __init__(self, index, features, eps):
        super().__init__()
        self.index, self.features, self.eps = index, features, eps

    def forward(self, x, *arguments):
        mean, var, gain, bias = arguments[-1][self.index]
        if APPLY == "bn":
            h, w = x.shape[2:]
            y = F.batch_norm(
                x.reshape(1, -1, h, w),
                mean.reshape(-1),
                var.reshape(-1),
                gain.reshape(-1),
                bias.reshape(-1),
                False,
                0.0,
                self.eps,
            )
            return y.reshape(-1, self.features, h, w)
        return x * mean[:, :, None, None] + var[:, :, None, None]


class JointNorms(nn.Module):
    def __init__(self, generator, norms, projection, tables, embedding):
        super().__init__()
        self.generator = generator
        self.sizes = [n.features for n in norms]
        self.eps = norms[0].eps
        self.register_buffer("projection", projection)
        self.register_buffer(
            "offset", torch.cat([torch.ones(sum(self.sizes)), torch.zeros(sum(self.sizes))])
        )
        self.register_buffer("tables", tables)
        self.register_buffer("goffset", projection[-1])
        self.register_buffer("proj", projection[:-1])

    @property
    def pixel_range(self):
        return self.generator.pixel_range

    def forward(self, z, class_weights=None, knots=None):
        inputs = z if class_weights is None else torch.cat((class_weights, z), 1)
        gb = torch.addmm(self.goffset, inputs, self.proj)
        mv = knots @ self.tables
        if APPLY == "bn":
            g = gb.split([*self.sizes, *self.sizes], 1)
            m = mv.split([*self.sizes, *self.sizes], 1)
            k = len(self.sizes)
            norms = [(m[i], m[k + i], g[i], g[k + i]) for i in range(k)]
        else:
            mean, var = mv.chunk(2, 1)
            gain, bias = gb.chunk(2, 1)
            scale = gain * torch.rsqrt(var + self.eps)
            shift = bias - mean * scale
            norms = [
                (a, b, None, None)
                for a, b in zip(scale.split(self.sizes, 1), shift.split(self.sizes, 1))
            ]
        return self.generator(z, class_weights, norms)


def joint_norms(generator):
    if not isinstance(generator, biggan.Generator):
        return generator
    shape = generator.shape
    width = shape.z_dim // shape.n_chunks
    found = []
    gains = []
    biases = []
    tables = []
    rows = shape.n_classes + shape.z_dim
    for name, m in list(generator.named_modules()):
        parent, _, child = name.rpartition(".")
        if isinstance(m, ConditionalBatchNorm2d):
            i = int(name.split(".")[1])
            out = []
            for lin, off in ((m.gain, 1.0), (m.bias, 0.0)):
                w = lin.weight.T  # [cond, C]
                mat = torch.zeros(rows + 1, w.shape[1])
                mat[-1] = off
                zs = slice(shape.n_classes + (i + 1) * width, shape.n_classes + (i + 2) * width)
                mat[zs] = w[:width]
                mat[: shape.n_classes] = generator.embedding.weight @ w[width:]
                out.append(mat)
            norm = m.norm
        elif isinstance(m, StandingBatchNorm2d) and m.affine:
            out = []
            for v in (m.weight, m.bias):
                mat = torch.zeros(rows + 1, m.num_features)
                mat[-1] = v
                out.append(mat)
            norm = m
        else:
            continue
        gains.append(out[0])
        biases.append(out[1])
        tables.append((norm.mean_table, norm.var_table))
        a = NormApplied(len(found), norm.num_features, norm.eps)
        found.append(a)
        setattr(generator.get_submodule(parent) if parent else generator, child, a)
    return JointNorms(
        generator,
        found,
        torch.cat(gains + biases, 1).detach(),
        torch.cat([t[0] for t in tables] + [t[1] for t in tables], 1),
        None,
    )
