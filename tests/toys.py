"""Tiny real models, made in milliseconds: what the server does, without a training run.

Each is an ONNX graph that keeps the artifact contract: images = sigmoid(z W + class_weights C), as
uint8 [N, H, W, C].
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from zoo.card import (
    Artifact,
    Card,
    Classes,
    Image,
    Latent,
    Provenance,
    TruncationAdvice,
)

Z_DIM = 8


def write_toy(
    zoo: Path,
    name: str,
    *,
    version: str = "1.0.0",
    classes: tuple[str, ...] = (),
    side: int = 12,
    channels: int = 1,
    folder: str | None = None,
    hidden: int = 0,
    seed: int = 7,
) -> Card:
    """Writes one model into a zoo folder and returns its card.

    Args:
        zoo: made if missing.
        name: of the model.
        version: of the model.
        classes: class names; none for an unconditional model.
        side: height and width in pixels.
        channels: 1 or 3.
        folder: default: the name.
        hidden: width of an extra layer; some thousands make the model slow.
        seed: of its weights.
    """
    content = _graph(len(classes), side, channels, hidden, seed).SerializeToString()
    card = Card(
        name=name,
        version=version,
        architecture="toy",
        license="Apache-2.0",
        artifact=Artifact(
            file="generator.onnx",
            sha256=hashlib.sha256(content).hexdigest(),
            opset=20,
            weights="fp32",
        ),
        latent=Latent(dim=Z_DIM, distribution="normal"),
        classes=Classes(names=classes) if classes else None,
        image=Image(height=side, width=side, channels=3 if channels == 3 else 1),
        truncation=TruncationAdvice(default=None, mode="threshold", curve=None),
        provenance=Provenance(
            recipe=None, dataset=None, images_seen=None, commit=None, started=None, finished=None
        ),
        quality=None,
        parity=None,
        limits="A toy.",
    )
    target = zoo / (folder or name)
    target.mkdir(parents=True)
    (target / "generator.onnx").write_bytes(content)
    (target / "card.json").write_text(card.to_json())
    return card


def _graph(n_classes: int, side: int, channels: int, hidden: int, seed: int) -> onnx.ModelProto:
    rng = np.random.default_rng(seed)
    pixels = side * side * channels
    inputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", Z_DIM])]
    weights = {"shape": np.array([-1, side, side, channels]), "scale": np.float32(255)}
    nodes = []
    last, width = "z", Z_DIM
    if hidden:
        for layer in range(3):
            weights[f"H{layer}"] = (rng.standard_normal((width, hidden)) / np.sqrt(width)).astype(
                np.float32
            )
            nodes.append(helper.make_node("MatMul", [last, f"H{layer}"], [f"h{layer}"]))
            last, width = f"h{layer}", hidden
    weights["W"] = (rng.standard_normal((width, pixels)) / np.sqrt(width)).astype(np.float32)
    nodes.append(helper.make_node("MatMul", [last, "W"], ["from_z"]))
    last = "from_z"
    if n_classes:
        inputs.append(
            helper.make_tensor_value_info("class_weights", TensorProto.FLOAT, ["N", n_classes])
        )
        weights["C"] = rng.standard_normal((n_classes, pixels)).astype(np.float32) * 3
        nodes.append(helper.make_node("MatMul", ["class_weights", "C"], ["from_class"]))
        nodes.append(helper.make_node("Add", [last, "from_class"], ["logits"]))
        last = "logits"
    nodes += [
        helper.make_node("Sigmoid", [last], ["unit"]),
        helper.make_node("Mul", ["unit", "scale"], ["levels"]),
        helper.make_node("Round", ["levels"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["bytes", "shape"], ["images"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", side, side, channels])
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()]
    graph = helper.make_graph(nodes, "toy", inputs, [images], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
