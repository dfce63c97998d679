"""Benchmarks. Each runs alone and prints tables with machine, versions, date and command.

    python -m bench.bench_step [--quick] [--json PATH]
    python -m bench

The second runs all of them and writes docs/performance.md. A benchmark is a module `bench_*` with
`measure(quick: bool) -> Findings`: candidates that took turns in one run.
"""

import os

# One thread, as we have: several on one pinned core would make a peer look slow. Read when numpy loads.
for _pool in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")
