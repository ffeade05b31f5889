"""Benchmarks: the cost of each step beside a reference for the same work, measured in the same minute.

A benchmark is one module. Its ``rows(scale)`` lists the measurements: a subject (our code as tasks call it) beside its
references (the bare engine, or the tool that a team would use otherwise). Each is a function that sets the work up and
returns it. ``python -m tests.benchmarks`` measures each in a process of its own, in turns. A ratio is a statement about
one machine on one day, so no benchmark ever fails a build.
"""
