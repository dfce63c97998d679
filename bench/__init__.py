"""Benchmarks. Each module runs alone, prints its tables with machine, versions, date and command, writes JSON.

    python -m bench.bench_step [--quick] [--json PATH]
    python -m bench

The second runs all of them and writes docs/performance.md. A benchmark is a module `bench_*` with
`measure(quick: bool) -> Findings`; what it finds is a ratio of candidates that took turns in one run on one core.
"""

import os

# One core each, as we use: a pool of threads on one pinned core would only make a peer look slow. Read when numpy loads.
for _pool in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")
