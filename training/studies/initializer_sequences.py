"""A small sequence model, trained from a start: rows of digits, read from top to bottom.

    28 rows of 28 pixels ─ conv 3 ─ conv 3 ─ LSTM in both directions ─ dense ─ dense 10

Batch norm and ReLU follow the convolutions, ReLU and dropout the first dense layer. The LSTM starts
as torch has it, U(±1/√hidden), whatever the start: it is neither convolution nor dense.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.data import ImageSet, to_range
from training.draws import BatchOrder
from training.initializers import initialize
from training.studies.digits import DIGITS
from training.studies.initializer_starts import Ending, Start, optimizer_of

_ROW = 28
_BETAS = (0.9, 0.99)  # RMSprop takes the second one, which is torch's default for it


class SequenceModel(nn.Module):
    """Maps sequences to logits.

    Args:
        width: of convolutions, of each direction of the LSTM, and of the dense layer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(_ROW, width, 3, padding=1, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.dense = nn.Sequential(
            nn.Linear(2 * width, width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, DIGITS)
        )

    def forward(self, rows: Tensor) -> Tensor:
        """Rows float32 [N, T, 28] to logits float32 [N, 10]."""
        features = self.convolutions(rows.transpose(1, 2)).transpose(1, 2)
        _, (last, _) = self.lstm(features)  # of each direction, [2, N, width]
        logits: Tensor = self.dense(torch.cat((last[0], last[1]), 1))
        return logits


def rows_of(data: ImageSet) -> Tensor:
    """Images as sequences, float32 [N, 28, 28] in [0, 1]."""
    return to_range(data.images, (0.0, 1.0)).squeeze(1)


def train_sequences(
    start: Start,
    optimizer: str,
    data: tuple[ImageSet, ImageSet],
    *,
    width: int,
    epochs: int,
    batch_size: int,
    lr: float,
    seed: int,
    device: torch.device,
) -> Ending:
    """Trains; `losses` are epochs' means with dropout, `score` the cross-entropy of test images.

    Args:
        start: of the weights.
        optimizer: RMSprop or Adam.
        data: for training and for testing.
        width: see `SequenceModel`.
        epochs: over the training images.
        batch_size: of an update.
        lr: of the optimiser.
        seed: of weights, batches and dropout.
        device: to train on.
    """
    (rows, labels), (test_rows, test_labels) = (
        (rows_of(part).to(device), part.labels.to(device)) for part in data
    )
    torch.manual_seed(seed)
    network = SequenceModel(width)
    initialize(network, start.config)
    network.to(device)
    descent = optimizer_of(optimizer, network, lr, _BETAS)
    order, ending = BatchOrder(len(rows), batch_size, seed), Ending()
    for epoch in range(epochs):
        total = 0.0
        for batch in range(order.batches_per_epoch):
            chosen = order.indices(epoch * order.batches_per_epoch + batch).to(device)
            loss = F.cross_entropy(network(rows[chosen]), labels[chosen])
            descent.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            descent.step()
            total += loss.item()
        ending.losses.append(total / order.batches_per_epoch)
        if not math.isfinite(total):
            return ending
    network.eval()
    with torch.no_grad():
        ending.score = F.cross_entropy(network(test_rows), test_labels).item()
    return ending
