"""The served graph: a generator network with quantisation and layout inside."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import onnx
import torch
from torch import Tensor, nn

from zoo.exporters.truncation_knots import knots_of

OPSET = 20
_MAX_BATCH = 65536


class ServedGenerator(nn.Module):
    """Latents, classes and thresholds to images uint8 [N, H, W, C].

    Args:
        generator: gives images float32 [N, C, H, W] within its `pixel_range`.
        z_dim: length of z.
        n_classes: 0 for a model without classes.
        n_knots: rows of the batch-norm statistics that follow the truncation; 0 where they do not.
    """

    def __init__(
        self, generator: nn.Module, z_dim: int, n_classes: int = 0, n_knots: int = 0
    ) -> None:
        super().__init__()
        self.generator = generator
        self.z_dim, self.n_classes, self.n_knots = z_dim, n_classes, n_knots
        low, high = generator.pixel_range  # type: ignore[misc]  # torch types attributes of modules as Tensor or Module
        self._low, self._factor = float(low), 255.0 / float(high - low)

    @property
    def input_names(self) -> list[str]:
        """Names of the arguments of `forward`, as the graph has them."""
        names = ["z"]
        names += ["class_weights"] if self.n_classes else []
        names += ["truncation"] if self.n_knots else []
        return names

    def forward(self, z: Tensor, *conditions: Tensor) -> Tensor:
        """Rounds to the nearest of 256 grey levels, and moves channels last.

        Args:
            z: float32 [N, z_dim].
            conditions: of `class_weights` float32 [N, n_classes] and `truncation` float32 [N],
                those that `input_names` has.
        """
        rest = list(conditions)
        class_weights = rest.pop(0) if self.n_classes else None
        if self.n_knots:
            images = self.generator(z, class_weights, knots_of(rest.pop(0), self.n_knots))
        else:
            images = (
                self.generator(z) if class_weights is None else self.generator(z, class_weights)
            )
        levels = (images - self._low) * self._factor if self._low else images * self._factor
        pixels: Tensor = levels.round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1)

    def example(self, n: int) -> tuple[Tensor, ...]:
        """Arguments of the right shapes for a batch of `n`."""
        shapes = {
            "z": (n, self.z_dim),
            "class_weights": (n, self.n_classes),
            "truncation": (n,),
        }
        return tuple(torch.zeros(shapes[name]) for name in self.input_names)


def trace(served: ServedGenerator) -> onnx.ModelProto:
    """The graph of a generator in evaluation mode, with a dynamic batch.

    The exporter folds plain batch norm into the neighbouring weights. Notes about source files are
    removed: they hold paths of the machine that exported.
    """
    batch = torch.export.Dim("N", min=1, max=_MAX_BATCH)
    arguments = served.example(2)
    first, *others = ({0: batch} for _ in arguments)
    with warnings.catch_warnings():
        # One name for the axis that several inputs share is what is wanted.
        warnings.filterwarnings("ignore", "# The axis name: N will not be used")
        program = torch.onnx.export(
            served,
            arguments,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=served.input_names,
            output_names=["images"],
            dynamic_shapes=(first, tuple(others)) if others else (first,),
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
