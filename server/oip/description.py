"""What the Open Inference Protocol is told about models: tensors, configuration, statistics."""

from __future__ import annotations

import json
from collections.abc import Iterable

from protos.inference.v2 import open_inference_pb2 as pb
from server.loading import Resident
from server.oip.inference import inputs_of
from server.tally import Sum
from zoo.card import Card, parse_reference
from zoo.runtime import CPU

PLATFORM = "onnxruntime_onnx"
_TYPES = {"INT64": pb.TYPE_INT64, "UINT64": pb.TYPE_UINT64, "FP32": pb.TYPE_FP32}


def metadata(card: Card, versions: Iterable[str]) -> pb.ModelMetadataResponse:
    """A model's tensors."""
    tensor, image = pb.ModelMetadataResponse.TensorMetadata, card.image
    return pb.ModelMetadataResponse(
        name=card.name,
        versions=versions,
        platform=PLATFORM,
        inputs=[
            tensor(name=spec.name, datatype=spec.datatypes[0], shape=[-1, spec.width])
            for spec in inputs_of(card).values()
        ],
        outputs=[
            tensor(
                name="images",
                datatype="UINT8",
                shape=[-1, image.height, image.width, image.channels],
            )
        ],
    )


def configuration(resident: Resident, most_rows: int) -> pb.ModelConfig:
    """How a model is run."""
    card = resident.card
    kind = pb.ModelInstanceGroup.KIND_CPU
    if resident.generator.provider != CPU:
        kind = pb.ModelInstanceGroup.KIND_GPU
    about = {
        "version": card.version,
        "architecture": card.architecture,
        "sha256": card.artifact.sha256,
    }
    if card.class_names:
        about["class_names"] = json.dumps(card.class_names, ensure_ascii=False)
    image = card.image
    return pb.ModelConfig(
        name=card.name,
        platform=PLATFORM,
        backend="onnxruntime",
        max_batch_size=most_rows,
        input=[
            pb.ModelInput(
                name=spec.name,
                data_type=_TYPES[spec.datatypes[0]],
                dims=[spec.width],
                optional=True,
            )
            for spec in inputs_of(card).values()
        ],
        output=[
            pb.ModelOutput(
                name="images",
                data_type=pb.TYPE_UINT8,
                dims=[image.height, image.width, image.channels],
            )
        ],
        instance_group=[
            pb.ModelInstanceGroup(name="runners", count=resident.batcher.runners, kind=kind)
        ],
        default_model_filename=card.artifact.file,
        dynamic_batching=pb.ModelDynamicBatching(preferred_batch_size=[resident.batcher.max_batch]),
        parameters={key: pb.ModelParameter(string_value=text) for key, text in about.items()},
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=False),
    )


def statistics(resident: Resident) -> pb.ModelStatistics:
    """What a model has done since it was loaded."""
    tally, batches = resident.tally, resident.tally.batches()
    return pb.ModelStatistics(
        name=resident.card.name,
        version=resident.card.version,
        last_inference=int(tally.last_batch_s * 1e3),
        inference_count=sum(size * sums.compute.count for size, sums in batches.items()),
        execution_count=sum(sums.compute.count for sums in batches.values()),
        inference_stats=pb.InferStatistics(
            success=_duration([tally.succeeded]),
            fail=_duration([tally.failed]),
            queue=_duration(sums.queue for sums in batches.values()),
            compute_infer=_duration(sums.compute for sums in batches.values()),
            compute_output=_duration(sums.encode for sums in batches.values()),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=size,
                compute_infer=_duration([sums.compute]),
                compute_output=_duration([sums.encode]),
            )
            for size, sums in batches.items()
        ],
    )


def _duration(sums: Iterable[Sum]) -> pb.StatisticDuration:
    found = list(sums)
    return pb.StatisticDuration(
        count=sum(s.count for s in found), ns=int(sum(s.seconds for s in found) * 1e9)
    )


def listing(models: dict[str, str | None]) -> list[pb.RepositoryIndexResponse.ModelIndex]:
    """Models by reference, with the reason for which they are not there."""
    index = []
    for reference, reason in models.items():
        name, version = parse_reference(reference)
        state = "READY" if reason is None else "UNAVAILABLE"
        index.append(
            pb.RepositoryIndexResponse.ModelIndex(
                name=name, version=version, state=state, reason=reason
            )
        )
    return index
