"""Layers of the BigGAN family against computations by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.nets.layers import (
    ConditionalBatchNorm2d,
    DownsampleConv2d,
    SelfAttention,
    StandingBatchNorm2d,
    UpsampleConv2d,
    UpsampleShortcut,
    fuse_resampling,
)


def close(actual: Tensor, expected: Tensor, relative: float = 1e-5) -> None:
    """Largest difference beside the largest value."""
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= relative * expected.abs().max()


# Batch norm


def tabulated(affine: bool) -> StandingBatchNorm2d:
    norm = StandingBatchNorm2d(4, affine=affine).eval()
    norm.tabulate(torch.randn(3, 4), torch.rand(3, 4) + 0.5)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("row", [0, 1, 2])
def test_one_knot_is_batch_norm_with_the_statistics_of_its_row(*, affine: bool, row: int) -> None:
    norm, x = tabulated(affine), torch.randn(2, 4, 3, 3)
    assert norm.mean_table is not None
    assert norm.var_table is not None
    plain = nn.BatchNorm2d(4, affine=affine).eval()
    if affine:
        plain.weight, plain.bias = norm.weight, norm.bias
    assert plain.running_mean is not None
    assert plain.running_var is not None
    plain.running_mean.copy_(norm.mean_table[row])
    plain.running_var.copy_(norm.var_table[row])
    knots = torch.eye(3)[row].expand(2, 3)
    close(norm(x, knots), plain(x))


def test_each_image_is_normalised_between_its_own_knots() -> None:
    norm, x = tabulated(affine=True), torch.randn(2, 4, 3, 3)
    knots = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.5, 0.5]])
    got = norm(x, knots)
    assert norm.mean_table is not None
    assert norm.var_table is not None
    means, variances = norm.mean_table, norm.var_table
    for i, (a, b, share) in enumerate([(0, 1, 0.25), (1, 2, 0.5)]):
        mean = share * means[a] + (1 - share) * means[b]
        deviation = torch.sqrt(share * variances[a] + (1 - share) * variances[b] + 1e-5)
        for c in range(4):
            by_hand = (x[i, c] - mean[c]) / deviation[c] * norm.weight[c] + norm.bias[c]
            close(got[i, c], by_hand)


def test_without_knots_it_is_plain_batch_norm() -> None:
    x = torch.randn(8, 4, 3, 3) * 2 + 1
    norm, plain = StandingBatchNorm2d(4, affine=True), nn.BatchNorm2d(4)
    assert torch.equal(norm(x), plain(x))
    norm.eval()
    plain.eval()
    assert torch.equal(norm(x), plain(x))
    assert norm.state_dict().keys() == plain.state_dict().keys()


def test_knots_need_tables() -> None:
    norm = StandingBatchNorm2d(4, affine=False).eval()
    with pytest.raises(RuntimeError) as caught:
        norm(torch.randn(1, 4, 2, 2), torch.ones(1, 3))
    assert str(caught.value) == (
        "this generator has no statistics for truncation: tabulate() first"
    )


def test_conditional_batch_norm() -> None:
    gain, bias = nn.Linear(5, 4, bias=False), nn.Linear(5, 4, bias=False)
    norm = ConditionalBatchNorm2d(4, gain, bias)
    x, condition = torch.randn(6, 4, 3, 3) * 3 + 1, torch.randn(6, 5)
    got = norm(x, condition)
    for c in range(4):
        standard = (x[:, c] - x[:, c].mean()) / torch.sqrt(x[:, c].var(correction=0) + 1e-5)
        gains, biases = 1 + condition @ gain.weight[c], condition @ bias.weight[c]
        close(got[:, c], standard * gains[:, None, None] + biases[:, None, None])


# Resampling


def upsampled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_resampling_convolutions_are_what_they_stand_for() -> None:
    x = torch.randn(2, 3, 6, 6)
    up, down, shortcut = UpsampleConv2d(3, 5), DownsampleConv2d(3, 5), UpsampleShortcut(3, 5)
    close(up(x), F.conv2d(upsampled(x), up.weight, up.bias, padding=1))
    close(shortcut(x), F.conv2d(upsampled(x), shortcut.weight, shortcut.bias))
    wide = F.conv2d(x, down.weight, down.bias, padding=1)
    quarters = [wide[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    close(down(x), sum(quarters, torch.zeros(())) / 4)


@pytest.mark.parametrize("kind", [UpsampleConv2d, DownsampleConv2d, UpsampleShortcut])
def test_fused_and_unfused_agree_in_values_and_gradients(
    kind: type[UpsampleConv2d | DownsampleConv2d | UpsampleShortcut],
) -> None:
    layer, x = kind(3, 5), torch.randn(2, 3, 6, 4, requires_grad=True)
    results = []
    for fused in (True, False):
        fuse_resampling(layer, fused)
        assert layer.fused is fused
        out = layer(x)
        weights = torch.linspace(-1, 1, out.numel()).view_as(out)
        results.append([out, *torch.autograd.grad((out * weights).sum(), [x, *layer.parameters()])])
    for one, other in zip(*results, strict=True):
        close(one, other)


# Attention


def test_attention_starts_as_the_identity() -> None:
    x = torch.randn(2, 16, 4, 4)
    assert torch.equal(SelfAttention(16, spectral=True)(x), x)


@pytest.mark.parametrize("height", [4, 6])
def test_attention_is_a_weighted_mean_of_values(height: int) -> None:
    layer, x = SelfAttention(16, spectral=False), torch.randn(2, 16, height, 4)
    nn.init.constant_(layer.gamma, 0.3)
    weights = [m.get_parameter("weight")[:, :, 0, 0] for m in (layer.theta, layer.phi, layer.g)]
    theta, phi, g = (torch.einsum("oc,nchw->nohw", w, x) for w in weights)
    cells = [t.reshape(2, -1, height // 2, 2, 2, 2).amax((3, 5)) for t in (phi, g)]
    scores = torch.einsum("nchw,ncij->nhwij", theta, cells[0])
    share = scores.exp() / scores.exp().sum((3, 4), keepdim=True)
    attended = torch.einsum("nhwij,ncij->nchw", share, cells[1])
    back = torch.einsum("oc,nchw->nohw", layer.o.get_parameter("weight")[:, :, 0, 0], attended)
    close(layer(x), x + 0.3 * back)


def test_attention_needs_channels_to_share_out() -> None:
    SelfAttention(8, spectral=True)
    with pytest.raises(ValueError, match=r".") as caught:
        SelfAttention(12, spectral=True)
    assert str(caught.value) == "self-attention needs a multiple of 8 channels, not 12"
