"""List the stages of the device check with the seconds that each may take, those that tell most first."""

from __future__ import annotations

DEADLINES = {
    "machine": 40.0,
    "attention": 60.0,
    "chunk": 70.0,
    "compiled": 150.0,
    "others": 90.0,
    "codecs": 120.0,
    "quantised": 150.0,
    "overlap": 50.0,
    "correctness": 60.0,
    "memory": 60.0,
    "offloaded": 50.0,
    "switches": 50.0,
    "products": 90.0,
    "copies": 30.0,
    "encoders": 30.0,
    "graph": 60.0,
}
