"""End to end: a stack of its own with a real scheduler; what is asserted on is the lake.

A package, so that the stack is stopped as soon as the last of these tests is done.
"""
