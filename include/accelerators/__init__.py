"""Run search workers: leases on GPUs and CPU slots, worker processes, and records of what they used.

May import ``include.core`` and ``include.spec``. A worker is a module that this package starts but does not import.
"""
