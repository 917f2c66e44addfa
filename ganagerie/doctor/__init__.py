"""What a machine has, what works on it, and how fast: the facts behind `ganagerie doctor`.

`machine.py` asks the machine, `providers.py` onnxruntime, `models.py` each model; `report.py` is
what they say together, and `table.py` how a person reads it.
"""
