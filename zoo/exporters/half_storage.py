"""Stores weights as fp16, half the bytes on disk; the graph casts them back and computes in fp32.

onnxruntime folds the casts when it loads the file, so running costs the same.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_SMALL = 256  # elements; below, a cast costs more bytes than it saves


def store_weights_as_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` whose large fp32 initialisers are fp16, each behind a Cast."""
    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    graph = halved.graph
    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < _SMALL:
            continue
        name = weight.name
        values = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(values, f"{name}_fp16"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(halved, full_check=True)
    return halved
