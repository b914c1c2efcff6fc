"""The folder of the pages' HTML, scripts and styles; it is package data, so that a wheel has it too."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).resolve().parent / "page"
