"""Other engines with our weights. Each module: `make(model, streams) -> {name: step}`, or raises `Absent`.

A step takes samples, (streams, D) float32, keeps its hidden states itself, and returns outputs, (streams, K),
as a NumPy array. Each peer runs at its best setting for one thread.
"""
