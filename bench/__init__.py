"""Benchmarks: one file a question. Each runs its rival in the same run, alternating with ours, and says its caveat.

`python -m bench` runs them all; `python -m bench.redis_cpu` (or any other) runs one.
"""
