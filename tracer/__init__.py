"""tcptrace: what the kernel knows about TCP, told without overhead."""

import os

__version__ = "0.1.0"

# numpy's linear algebra, of which nothing is used, would start a thread per CPU; and privileges are dropped by thread.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
