"""Lanes without anything that runs, for generators that make their images themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.execution import Execution, Feeds


@dataclass
class Lanes(Execution):
    """So many lanes."""

    lanes: int
    kinds: int = 1
    provider: str = "none"

    def run(self, feeds: Feeds, lane: int) -> NDArray[np.uint8]:
        """Never called."""
        raise NotImplementedError
