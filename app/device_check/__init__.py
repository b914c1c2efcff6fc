"""Check what a graphics card makes of the models, in minutes and without weights: speed, errors and memory.

`python -m app.device_check` runs every stage as a process of its own with a deadline, and appends a line of JSON to a
file as soon as one ends. The stages need torch, numpy and safetensors; what needs another package says so and is left
out. Random weights have the shapes of the published models, which is enough for speed, memory and rounding, not for
quality. `--dry-run` does the same with tiny shapes on the CPU.
"""
