"""Provide the ways to use Longtake: the command line, the HTTP API and the pages."""

__version__ = "0.1.0"  # pyproject.toml reads the version from here
