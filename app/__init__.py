"""Longtake's doors: the command line, the HTTP API, and the pages."""

__version__ = "0.1.0"  # the only place; pyproject.toml reads it from here
