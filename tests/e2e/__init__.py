"""End-to-end tests: they start their own stack with a real scheduler and check the lake.

They form a package, so that the stack's fixture stops it right after the last of these tests.
"""
