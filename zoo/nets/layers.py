"""Layers that the BigGAN family is made of (Brock, Donahue, Simonyan 2018, appendices B and C)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.utils import parametrizations, parametrize

_SN_EPS = 1e-6  # as in the authors' launch scripts


class StandingBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose evaluation statistics can follow the truncation threshold.

    In training, and in evaluation without `knots`, it is plain batch norm. `tabulate` gives it one
    row of statistics for each of K thresholds, between which `knots` interpolates.
    """

    mean_table: Tensor | None
    var_table: Tensor | None

    def __init__(self, features: int, *, affine: bool, eps: float = 1e-5) -> None:
        super().__init__(features, eps=eps, affine=affine)
        self.register_buffer("mean_table", None)
        self.register_buffer("var_table", None)
        self.synchronised = False

    def tabulate(self, means: Tensor, variances: Tensor) -> None:
        """Takes statistics float32 [K, features], one row a threshold."""
        self.mean_table, self.var_table = means, variances

    def statistics(self, knots: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and variance, [features], or [N, features] with `knots` float32 [N, K]."""
        if knots is None:
            if self.running_mean is None or self.running_var is None:
                raise RuntimeError("batch norm without running statistics")
            return self.running_mean, self.running_var
        if self.mean_table is None or self.var_table is None:
            raise RuntimeError("this generator has no statistics for truncation: tabulate() first")
        return knots @ self.mean_table, knots @ self.var_table

    def forward(self, x: Tensor, knots: Tensor | None = None) -> Tensor:
        """Normalises float32 [N, features, H, W]; `knots` float32 [N, K] are rows' weights."""
        if knots is None:
            if self.synchronised and self.training:
                return self._across_processes(x)
            return super().forward(x)
        mean, variance = self.statistics(knots)
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        shift = -mean * scale
        if self.affine:
            shift = shift + self.bias
        return torch.addcmul(shift[:, :, None, None], x, scale[:, :, None, None])

    def _across_processes(self, x: Tensor) -> Tensor:
        """Training-mode batch norm of the batch that all processes share, each an equal part."""
        size = dist.get_world_size()
        wide = x.float()
        mean: Tensor = all_reduce(wide.mean((0, 2, 3))) / size  # type: ignore[no-untyped-call]  # torch leaves it untyped
        centred = wide - mean[:, None, None]
        variance: Tensor = all_reduce(centred.square().mean((0, 2, 3))) / size  # type: ignore[no-untyped-call]  # as above
        with torch.no_grad():
            momentum = 0.1 if self.momentum is None else self.momentum
            n = size * x.numel() / x.shape[1]
            for running, now in (
                (self.running_mean, mean),
                (self.running_var, variance * (n / (n - 1))),
            ):
                if running is not None:
                    running.lerp_(now, momentum)
        out = centred * torch.rsqrt(variance + self.eps)[:, None, None]
        if self.affine:
            out = torch.addcmul(self.bias[:, None, None], out, self.weight[:, None, None])
        same_type: Tensor = out.to(x.dtype)
        return same_type


def synchronise_batch_norm(network: nn.Module) -> None:
    """From now on training-mode statistics are those of all processes (BigGAN, section 3)."""
    for layer in network.modules():
        if isinstance(layer, StandingBatchNorm2d):
            layer.synchronised = True


@contextmanager
def own_statistics(network: nn.Module) -> Iterator[None]:
    """Within it batch norm sees this process's batch alone, so that one process may run it."""
    layers = [layer for layer in network.modules() if isinstance(layer, StandingBatchNorm2d)]
    before = [layer.synchronised for layer in layers]
    for layer in layers:
        layer.synchronised = False
    try:
        yield
    finally:
        for layer, synchronised in zip(layers, before, strict=True):
            layer.synchronised = synchronised


class ConditionalBatchNorm2d(nn.Module):
    """Class-conditional batch norm: gain 1 + W_g c, bias W_b c (appendix C, figure 15).

    Args:
        features: channels of x.
        gain: projects conditions [N, dim] to [N, features], without a bias of its own.
        bias: the same for the bias.
    """

    def __init__(self, features: int, gain: nn.Module, bias: nn.Module) -> None:
        super().__init__()
        self.norm = StandingBatchNorm2d(features, affine=False)
        self.gain, self.bias = gain, bias

    def forward(self, x: Tensor, condition: Tensor, knots: Tensor | None = None) -> Tensor:
        """X [N, features, H, W], condition [N, dim]."""
        gain = 1.0 + self.gain(condition)
        bias = self.bias(condition)
        return torch.addcmul(bias[:, :, None, None], self.norm(x, knots), gain[:, :, None, None])


class UpsampleConv2d(nn.Conv2d):
    """Nearest upsampling by 2, then a 3x3 convolution with padding 1.

    `fused` computes both as one 4x4 transposed convolution of stride 2, which is the same linear
    map with 4 products an output pixel instead of 9.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)
        self.fused = True

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, H, W] to [N, C_out, 2H, 2W]."""
        if self.fused:
            kernel = box_2x2(self.weight.flip(2, 3)).transpose(0, 1)
            return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class DownsampleConv2d(nn.Conv2d):
    """A 3x3 convolution with padding 1, then 2x2 average pooling.

    `fused` computes both as one 4x4 convolution of stride 2: 4 products a pixel instead of 9.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)
        self.fused = True

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, 2H, 2W] to [N, C_out, H, W]."""
        if self.fused:
            return F.conv2d(x, box_2x2(self.weight) / 4.0, self.bias, stride=2, padding=1)
        return F.avg_pool2d(super().forward(x), 2)


def box_2x2(kernel: Tensor) -> Tensor:
    """Full convolution of kernels [A, B, 3, 3] with a 2x2 box of ones: [A, B, 4, 4]."""
    rows = F.pad(kernel, (0, 0, 0, 1)) + F.pad(kernel, (0, 0, 1, 0))
    return F.pad(rows, (0, 1)) + F.pad(rows, (1, 0))


class UpsampleShortcut(nn.Conv2d):
    """Nearest upsampling by 2, then a 1x1 convolution; `fused` changes their order.

    A 1x1 convolution commutes with nearest upsampling, and before it costs a quarter.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)
        self.fused = True

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, H, W] to [N, C_out, 2H, 2W]."""
        if self.fused:
            return F.interpolate(super().forward(x), scale_factor=2.0, mode="nearest")
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def fuse_resampling(network: nn.Module, fused: bool) -> None:
    """Chooses how every resampling convolution of `network` computes; the result is the same."""
    for layer in network.modules():
        if isinstance(layer, UpsampleConv2d | DownsampleConv2d | UpsampleShortcut):
            layer.fused = fused


class SelfAttention(nn.Module):
    """Non-local block (Zhang et al. 2018, SAGAN, section 3), with keys and values pooled 2x2.

    The output is x + γ·attention with a learned γ that starts at 0.
    """

    def __init__(self, features: int, spectral: bool) -> None:
        super().__init__()
        if features % 8:
            raise ValueError(f"self-attention needs a multiple of 8 channels, not {features}")
        self.theta = spectral_norm(nn.Conv2d(features, features // 8, 1, bias=False), spectral)
        self.phi = spectral_norm(nn.Conv2d(features, features // 8, 1, bias=False), spectral)
        self.g = spectral_norm(nn.Conv2d(features, features // 2, 1, bias=False), spectral)
        self.o = spectral_norm(nn.Conv2d(features // 2, features, 1, bias=False), spectral)
        self.gamma = nn.Parameter(torch.zeros(()))
        self.inner = features // 2

    def forward(self, x: Tensor) -> Tensor:
        """[N, features, H, W] to the same shape."""
        height, width = x.shape[2:]
        query = self.theta(x).flatten(2).transpose(1, 2)  # [N, HW, features / 8]
        key = F.max_pool2d(self.phi(x), 2).flatten(2)  # [N, features / 8, HW / 4]
        value = F.max_pool2d(self.g(x), 2).flatten(2).transpose(1, 2)  # [N, HW / 4, features / 2]
        # Written out: torch's fused attention took 1.7 times as long in bf16 on a CPU.
        attended = torch.softmax(query @ key, dim=-1) @ value
        attended = attended.transpose(1, 2).reshape(-1, self.inner, height, width)
        out: Tensor = x + self.gamma * self.o(attended)
        return out


def projection_logits(
    h: Tensor, linear: nn.Module, embedding: nn.Module | None, class_weights: Tensor | None
) -> Tensor:
    """ψ(φ(x)) + y·φ(x), logits float32 [N] (Miyato and Koyama 2018, equation 3).

    Args:
        h: what the last block gives, [N, features, H, W]; φ is the sum of its positive parts.
        linear: ψ.
        embedding: y of each class; None without classes.
        class_weights: float32 [N, n_classes].
    """
    with torch.autocast(h.device.type, enabled=False):  # large sums: not in bf16
        features = F.relu(h).sum((2, 3), dtype=torch.float32)
        logits: Tensor = linear(features).squeeze(1)
        if embedding is not None and class_weights is not None:
            weight: Tensor = embedding.weight  # type: ignore[assignment]  # torch types attributes of modules as Tensor or Module
            logits = logits + ((class_weights @ weight) * features).sum(1)
    return logits


def spectral_norm(layer: nn.Module, apply: bool = True) -> nn.Module:
    """`layer` with its weight divided by its largest singular value (Miyato et al. 2018)."""
    return parametrizations.spectral_norm(layer, eps=_SN_EPS) if apply else layer


@contextmanager
def normalised_weights(*networks: nn.Module) -> Iterator[None]:
    """Within it every spectral norm of `networks` is computed once, in fp32, and kept.

    Entered around a forward pass, outside autocast; one power iteration is done in training mode.
    """
    with parametrize.cached():
        for network in networks:
            for layer in network.modules():
                if parametrize.is_parametrized(layer, "weight"):
                    _ = layer.weight
        yield


@torch.no_grad()
def fold_spectral_norm(network: nn.Module) -> None:
    """Replaces every spectrally normalised weight by its value, in place."""
    network.eval()
    for layer in list(network.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
