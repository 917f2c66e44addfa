"""`ganagerie.v1.Admin`: translation only; `server/residency.py` decides."""

from __future__ import annotations

from typing import Any, Final

from protos.v1 import admin_pb2 as pb
from protos.v1 import admin_pb2_grpc as pb_grpc
from server.residency import Residency
from server.roster import Model, State

_RESIDENCE: Final = {
    State.LOADED: pb.RESIDENCE_LOADED,
    State.COLD: pb.RESIDENCE_ON_DEMAND,
    State.FAILED: pb.RESIDENCE_FAILED,
    State.UNLOADED: pb.RESIDENCE_UNLOADED,
}


class AdminService(pb_grpc.AdminServicer):
    """Who may call is decided before: see `server/access.py`."""

    def __init__(self, residency: Residency) -> None:
        self._residency = residency

    async def LoadModel(self, request: pb.LoadModelRequest, context: Any) -> pb.LoadModelResponse:
        """Loads a model, or loads it anew."""
        model = await self._residency.load(request.model)
        return pb.LoadModelResponse(model=_state(model))

    async def UnloadModel(
        self, request: pb.UnloadModelRequest, context: Any
    ) -> pb.UnloadModelResponse:
        """Takes a model out."""
        model = await self._residency.unload(request.model)
        return pb.UnloadModelResponse(model=_state(model))

    async def ListStates(
        self, request: pb.ListStatesRequest, context: Any
    ) -> pb.ListStatesResponse:
        """Every model and its state."""
        return pb.ListStatesResponse(models=map(_state, self._residency.roster.all()))


def _state(model: Model) -> pb.ModelState:
    resident = model.resident
    return pb.ModelState(
        model=model.reference,
        residence=_RESIDENCE[model.state],
        reason=model.reason,
        digest=model.card.artifact.sha256 if model.card else "",
        bytes=model.size if resident else 0,
        running=resident.tally.running if resident else 0,
    )
