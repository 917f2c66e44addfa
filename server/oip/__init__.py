"""The Open Inference Protocol: tensors in, tensors out, over the same models and queues."""
