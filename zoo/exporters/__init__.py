"""From a torch network to an ONNX file in the zoo: graph, rewrites, parity check."""
