"""How much may be in memory, and whose place is taken by what comes."""

from __future__ import annotations

from pathlib import Path

from server.config import ServeConfig
from server.errors import NoRoom
from server.roster import Model, Roster
from zoo.errors import ArtifactError


class Room:
    """The memory for models, as the settings bound it.

    A model that is loaded anew makes way for itself, and what a folder held before for what comes
    from it: neither counts beside what comes.

    Args:
        config: the server's settings.
        roster: the models.
    """

    def __init__(self, config: ServeConfig, roster: Roster) -> None:
        self._most_models = config.max_loaded_models
        self._most_bytes = config.max_model_bytes
        self._roster = roster

    def could_hold(self, size: int) -> bool:
        """Whether a model of so many bytes may be there, if need be alone."""
        return not self._most_bytes or size <= self._most_bytes

    def has(self, coming: Model, folder: Path, size: int) -> bool:
        """Whether a model may come from that folder now, with a file of so many bytes."""
        return self._fit([size, *(model.size for model in self._others(coming, folder))])

    def exceeded(self) -> bool:
        """Whether more is in memory than may be."""
        return not self._fit([model.size for model in self._roster if model.resident])

    def require(self, size: int) -> None:
        """Raises ArtifactError if a model of so many bytes can never be there."""
        if not self.could_hold(size):
            raise ArtifactError(
                f"its file has {size:,} bytes, max_model_bytes allows {self._most_bytes:,}; "
                "raise it"
            )

    def who_leaves(self, coming: Model, folder: Path) -> Model:
        """The model that leaves for one that comes from that folder.

        Raises:
            NoRoom: nobody may.
        """
        # What could not be loaded anew would not come back: it stays.
        others = [model for model in self._others(coming, folder) if not model.reason]
        if not others:
            raise NoRoom(
                f"no room for {coming.reference}: what is in memory has to stay, "
                "as it cannot be loaded anew"
            )
        return min(others, key=_priority)

    def _others(self, coming: Model, folder: Path) -> list[Model]:
        others = (model for model in self._roster if model is not coming)
        return [model for model in others if model.resident and model.folder != folder]

    def _fit(self, sizes: list[int]) -> bool:
        few = not self._most_models or len(sizes) <= self._most_models
        return few and self.could_hold(sum(sizes))


def _priority(model: Model) -> tuple[bool, int]:
    """Who leaves first: who is idle, then who was used least recently."""
    return bool(model.resident and model.resident.tally.running), model.used
