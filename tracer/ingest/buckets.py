"""The bounds of histograms (kernel/buckets.py) as an array."""

from __future__ import annotations

import numpy as np

from tracer.kernel import buckets

BOUNDS_NS = np.array(buckets.BOUNDS_NS, np.uint64)
"""Shape (345,)."""
