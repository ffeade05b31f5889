"""Benchmarks: what a stage costs beside the limit of the same work, measured in the same minute.

A benchmark is one module. Its ``rows(scale)`` says what is measured: a subject (our code as tasks call it)
beside its references (the bare engine, or the tool that one would use instead), each a function that sets the
work up and returns it. ``python -m tests.benchmarks`` runs each of them in a process of its own, in turns.
A ratio is a statement about one machine on one day; nothing here ever fails a build.
"""
