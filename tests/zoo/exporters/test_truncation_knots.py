"""Weights of the rows between which batch-norm statistics are interpolated."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest
import torch
from scipy.special import ndtr
from torch import Tensor, nn

from zoo.exporters.graph import ServedGenerator, trace
from zoo.exporters.truncation_knots import N_KNOTS, knots_of, thresholds


def weights(*truncations: float, n_knots: int = N_KNOTS) -> Tensor:
    return knots_of(torch.tensor(truncations), n_knots)


@pytest.mark.parametrize("n_knots", [2, 5, N_KNOTS])
def test_thresholds_keep_evenly_growing_shares_of_a_normal_distribution(n_knots: int) -> None:
    *finite, last = thresholds(n_knots)
    assert last is None
    kept = [float(ndtr(t) - ndtr(-t)) for t in finite if t is not None]
    assert kept == pytest.approx([k / (n_knots - 1) for k in range(n_knots - 1)], abs=1e-12)


@pytest.mark.parametrize("n_knots", [2, 5, N_KNOTS])
def test_one_row_alone_at_each_threshold(n_knots: int) -> None:
    found = weights(*(math.inf if t is None else t for t in thresholds(n_knots)), n_knots=n_knots)
    torch.testing.assert_close(found, torch.eye(n_knots), rtol=0, atol=1e-5)


@pytest.mark.parametrize("along", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("knot", [0, 7, N_KNOTS - 2])
def test_two_rows_in_proportion_between_thresholds(knot: int, along: float) -> None:
    share = (knot + along) / (N_KNOTS - 1)
    truncation = float(np.sqrt(2) * torch.erfinv(torch.tensor(share, dtype=torch.float64)))
    expected = torch.zeros(1, N_KNOTS)
    expected[0, knot : knot + 2] = torch.tensor([1 - along, along])
    torch.testing.assert_close(weights(truncation), expected, rtol=0, atol=1e-5)


EXTREMES = (0.0, 1e-38, 1e-6, 0.02, 0.3, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 9.9, 10.1, 1e38, math.inf)


def test_weights_add_up_to_one_for_any_threshold() -> None:
    found = weights(*EXTREMES)
    assert found.dtype == torch.float32
    assert (found >= 0).all()
    assert ((found > 0).sum(1) <= 2).all()
    torch.testing.assert_close(found.sum(1), torch.ones(len(EXTREMES)), rtol=0, atol=1e-5)


def test_the_exported_graph_knows_the_same_weights() -> None:
    class Shown(nn.Module):
        """Each weight as the grey level of a pixel."""

        pixel_range = (0.0, 1.0)

        def forward(self, z: Tensor, _: None, knots: Tensor) -> Tensor:
            return (knots + 0.0 * z)[:, None, None]

    served = ServedGenerator(Shown(), z_dim=1, n_knots=N_KNOTS).eval()
    session = onnxruntime.InferenceSession(
        trace(served).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    truncations = np.array(EXTREMES, np.float32)
    feeds = {"z": np.zeros((len(EXTREMES), 1), np.float32), "truncation": truncations}
    levels = session.run(["images"], feeds)[0].reshape(len(EXTREMES), N_KNOTS)
    assert levels[-1].tolist() == [0] * (N_KNOTS - 1) + [255]  # +inf is not nan
    assert levels[0].tolist() == [255] + [0] * (N_KNOTS - 1)
    expected = (weights(*EXTREMES) * 255).round().numpy()
    assert np.abs(levels.astype(int) - expected).max() <= 1
