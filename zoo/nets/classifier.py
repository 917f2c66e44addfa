"""A small convolutional classifier of 28x28 grey images; generators are measured in its features.

    image ─ conv 5x5 (32) ─ pool ─ conv 5x5 (64) ─ pool ─ dense (1024) ─ dense (classes)

Batch norm and ReLU follow every layer but the last; batch norm can be left out, as an experiment.
There is no dropout, so the features of an image are the same in every evaluation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FEATURES = 1024
SIDE = 28
"""Height and width of the images, pixels."""


class Classifier(nn.Module):
    """Maps images to logits, by way of features.

    Args:
        n_classes: at least 2.
        batch_norm: behind every layer but the last, which then have no bias.
        momentum: share of a batch's statistics in the moving averages after it; one less decay.
    """

    def __init__(self, n_classes: int, batch_norm: bool = True, momentum: float = 0.1) -> None:
        super().__init__()
        side = SIDE // 4
        # Batch norm has a bias of its own.
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 5, padding=2, bias=not batch_norm),
            *([nn.BatchNorm2d(32, momentum=momentum)] if batch_norm else []),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, padding=2, bias=not batch_norm),
            *([nn.BatchNorm2d(64, momentum=momentum)] if batch_norm else []),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * side * side, FEATURES, bias=not batch_norm),
            *([nn.BatchNorm1d(FEATURES, momentum=momentum)] if batch_norm else []),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, n_classes)

    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees: float32 [N, 1024], at least 0.

        Args:
            images: float32 [N, 1, 28, 28] in [0, 1].
        """
        features: Tensor = self.body(images)
        return features.float()

    def forward(self, images: Tensor) -> Tensor:
        """Logits float32 [N, n_classes] of images float32 [N, 1, 28, 28] in [0, 1]."""
        logits: Tensor = self.head(self.features(images))
        return logits.float()


def probabilities(logits: Tensor) -> Tensor:
    """float64 [N, n_classes], rows sum to one: float32 would round small classes to nothing."""
    return torch.softmax(logits.double(), dim=1)
