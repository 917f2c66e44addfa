"""The served graph: a generator network with quantisation and layout inside."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import torch
from torch import Tensor, nn

OPSET = 20


class ServedGenerator(nn.Module):
    """Latents float32 [N, z_dim] to images uint8 [N, H, W, C].

    Args:
        generator: gives images float32 [N, C, H, W] in [0, 1].
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor) -> Tensor:
        """Rounds to the nearest of 256 grey levels, and moves channels last."""
        images: Tensor = self.generator(z)
        return (images * 255.0).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def trace(served: ServedGenerator, z_dim: int) -> onnx.ModelProto:
    """The plain graph of a generator in evaluation mode, with a dynamic batch.

    The exporter folds batch norm into the neighbouring weights. Notes about source files are
    removed: they hold paths of the machine that exported.
    """
    program = torch.onnx.export(
        served,
        (torch.zeros(2, z_dim),),
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=["z"],
        output_names=["images"],
        dynamic_shapes={"z": {0: torch.export.Dim("N", min=1, max=65536)}},
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model = program.model_proto
    graph = model.graph
    parts: Sequence[Sequence[onnx.ValueInfoProto | onnx.NodeProto | onnx.TensorProto]]
    parts = (graph.input, graph.output, graph.value_info, graph.node, graph.initializer)
    for part in parts:
        for item in part:
            item.doc_string = ""
            item.ClearField("metadata_props")
    graph.ClearField("metadata_props")
    model.ClearField("metadata_props")
    onnx.checker.check_model(model, full_check=True)
    return model
