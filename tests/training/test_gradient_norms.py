"""Mean gradient norms: the right numbers, and a network that does not notice."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from training.gradient_norms import mean_gradient_norms
from training.studies.normalised_nets import ResidualNet


def test_they_are_the_mean_over_batches_of_each_norm() -> None:
    torch.manual_seed(0)
    network = nn.Linear(3, 2, bias=False).double()
    batches = [(torch.randn(4, 3).double(), torch.tensor([0, 1, 1, 0])) for _ in range(3)]
    norms = []
    for inputs, labels in batches:
        # d(cross-entropy)/dW = (softmax - one-hot)ᵀ x / N
        error = torch.softmax(inputs @ network.weight.detach().T, 1) - F.one_hot(labels, 2)
        norms.append((error.T @ inputs / 4).norm().item())
    found = mean_gradient_norms(nn.Sequential(network), batches)
    assert found == {"0": pytest.approx(sum(norms) / 3, rel=1e-5)}
    assert len(set(norms)) == 3


@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_the_network_does_not_notice(norm: str) -> None:
    torch.manual_seed(0)
    network = ResidualNet(norm, 3, width=2).eval()  # type: ignore[arg-type]  # a name of a norm
    before = {key: value.clone() for key, value in network.state_dict().items()}
    mean_gradient_norms(network, [(torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]))])
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not network.training


def test_batches_are_needed() -> None:
    with pytest.raises(ValueError, match="no batches"):
        mean_gradient_norms(nn.Linear(2, 2), [])
