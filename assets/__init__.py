"""Weights, example takes and model cards; a package only so that a wheel carries them beside the code."""
