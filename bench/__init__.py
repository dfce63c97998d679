"""Benchmarks: each runnable alone, each prints its table with machine, versions, date and command."""
