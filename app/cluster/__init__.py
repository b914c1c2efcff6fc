"""Serve sessions on several machines: an ingress with a director, and workers that have whole sessions each."""
