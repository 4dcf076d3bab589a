"""Bounds of --max-series."""

LEAST = 1000
"""The smallest bound: what is of no label set, and what has left and `other` of two roles, find room within it in any case."""

BRIEF = 1400
"""Below this bound state_duration_seconds, of which there are up to 330 classic samples, is left out."""
