"""`inference.GRPCInferenceService`: the Open Inference Protocol's calls."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final

from protos.inference.v2 import open_inference_pb2 as pb
from protos.inference.v2 import open_inference_pb2_grpc as pb_grpc
from server.build import server_version
from server.config import ServeConfig
from server.errors import ModelUnavailable, NotReady
from server.loading import Resident
from server.oip.description import configuration, listing, metadata, statistics
from server.oip.inference import most_rows, to_answer, to_rows
from server.residency import Residency
from server.rows import plan_rows
from server.telemetry.calls import observer
from zoo.errors import InvalidRequest, ModelNotFound, shown

EXTENSIONS: Final = ("model_configuration", "statistics")


class OpenInferenceService(pb_grpc.GRPCInferenceServiceServicer):
    """Answers from the same models, through the same queues, as `ganagerie.v1`.

    Args:
        residency: the models.
        config: the server's limits.
        is_ready: whether requests are answered now.
    """

    def __init__(
        self, residency: Residency, config: ServeConfig, is_ready: Callable[[], bool]
    ) -> None:
        self._residency = residency
        self._config = config
        self._is_ready = is_ready

    async def ServerLive(
        self, request: pb.ServerLiveRequest, context: Any
    ) -> pb.ServerLiveResponse:
        """Always."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(
        self, request: pb.ServerReadyRequest, context: Any
    ) -> pb.ServerReadyResponse:
        """As `/readyz`."""
        return pb.ServerReadyResponse(ready=self._is_ready())

    async def ModelReady(
        self, request: pb.ModelReadyRequest, context: Any
    ) -> pb.ModelReadyResponse:
        """Whether a model makes images now."""
        try:
            self._residency.roster.find(_reference(request.name, request.version))
        except (ModelNotFound, ModelUnavailable, NotReady):
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=self._is_ready())

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Any
    ) -> pb.ServerMetadataResponse:
        """Who answers."""
        return pb.ServerMetadataResponse(
            name="ganagerie", version=server_version(), extensions=EXTENSIONS
        )

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Any
    ) -> pb.ModelMetadataResponse:
        """A model's versions and tensors."""
        roster = self._residency.roster
        card = roster.card(_reference(request.name, request.version))
        versions = [c.version for c in roster.cards() if c.name == card.name]
        is_named = request.name == card.name and not request.version
        return metadata(card, versions if is_named else [card.version])

    async def ModelConfig(
        self, request: pb.ModelConfigRequest, context: Any
    ) -> pb.ModelConfigResponse:
        """How a model is run."""
        resident = await self._resolve(request.name, request.version)
        rows = most_rows(resident.card, self._config.largest_count)
        config = configuration(resident, rows)
        return pb.ModelConfigResponse(config=config)

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: Any
    ) -> pb.ModelStatisticsResponse:
        """What one model, all versions of it, or all models have done."""
        return pb.ModelStatisticsResponse(
            model_stats=map(statistics, self._residents(request.name, request.version))
        )

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: Any
    ) -> pb.RepositoryIndexResponse:
        """Every model of the zoo."""
        if request.repository_name:
            raise InvalidRequest(
                "repository_name",
                f"{shown(request.repository_name)} is unknown; there is one zoo, leave it empty",
            )
        models = self._residency.roster.index()
        if request.ready:
            models = {name: reason for name, reason in models.items() if reason is None}
        return pb.RepositoryIndexResponse(models=listing(models))

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: Any
    ) -> pb.ModelInferResponse:
        """Images from rows."""
        resident = await self._resolve(request.model_name, request.model_version)
        card = resident.card
        planned = plan_rows(to_rows(request, card, self._config.largest_count), card)
        images = [b""] * planned.count
        observe = observer(card, planned.count)
        with resident.tally.request():
            async with aclosing(resident.images(planned, observe)) as batches:
                async for batch in batches:
                    for image in batch:
                        images[image.index] = image.data
        return to_answer(request, planned, images, card)

    async def _resolve(self, name: str, version: str) -> Resident:
        return await self._residency.resolve(_reference(name, version))

    def _residents(self, name: str, version: str) -> list[Resident]:
        if not name and version:
            raise InvalidRequest("version", f"{shown(version)} without a name; give both")
        self._residency.roster.cards()  # not a part of them while they are being loaded
        loaded = self._residency.loaded()
        if not version:
            loaded = [resident for resident in loaded if name in {"", resident.card.name}]
            if loaded or not name:
                return loaded
        resident = self._residency.roster.find(_reference(name, version)).resident
        return [resident] if resident else []


def _reference(name: str, version: str) -> str:
    return f"{name}@{version}" if version else name
