"""Finished images that are kept: an image is a function of its request, so it need be made once.

Off unless a size is given. It pays where the same seeds are asked for again and again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Hashable
from contextlib import aclosing
from typing import Final

from server.batching import Batcher
from server.requests import FinishedImage, Plan
from server.telemetry.calls import Observer

_ENTRY_BYTES: Final = 600  # what an entry takes beside its image: keys, objects, the table


class ImageCache:
    """The images of one model that were asked for last; for one event loop.

    Args:
        max_bytes: most memory that is taken; least recently used images leave.

    Attributes:
        held_bytes: memory taken, about.
        hits: images that were found.
        misses: images that had to be made.
    """

    def __init__(self, max_bytes: int) -> None:
        self.held_bytes = 0
        self.hits = 0
        self.misses = 0
        self._max_bytes = max_bytes
        self._images: OrderedDict[Hashable, FinishedImage] = OrderedDict()

    async def images(
        self,
        batcher: Batcher,
        plan: Plan,
        observe: Observer | None = None,
        *,
        streamed: bool = False,
    ) -> AsyncGenerator[list[FinishedImage]]:
        """As `Batcher.images`; those that are here come first, and only the others are made."""
        keys = [_key(plan, i) for i in range(plan.count)]
        found = [self._find(key, i) for i, key in enumerate(keys)]
        missing = [i for i, image in enumerate(found) if image is None]
        hits = plan.count - len(missing)
        self.hits += hits
        self.misses += len(missing)
        if hits:
            if observe is not None:
                observe(hits, None)
            yield [image for image in found if image is not None]
        if missing:
            made = batcher.images(plan.part(missing), observe, streamed=streamed)
            async with aclosing(made) as batches:
                async for batch in batches:
                    images = [image.at(missing[image.index]) for image in batch]
                    for image in images:
                        self._keep(keys[image.index], image)
                    yield images

    def _find(self, key: Hashable, index: int) -> FinishedImage | None:
        image = self._images.get(key)
        if image is None:
            return None
        self._images.move_to_end(key)
        return image.at(index)

    def _keep(self, key: Hashable, image: FinishedImage) -> None:
        if key in self._images:  # two requests wanted it at once
            return
        self._images[key] = image
        self.held_bytes += _size(image)
        while self.held_bytes > self._max_bytes:
            _, left = self._images.popitem(last=False)
            self.held_bytes -= _size(left)


def _key(plan: Plan, index: int) -> Hashable:
    return plan.seeds[index], plan.truncation(index), plan.mixture(index), plan.encoding


def _size(image: FinishedImage) -> int:
    return len(image.data) + _ENTRY_BYTES
