"""Audits of staged data: suites as values, Great Expectations over DuckDB, reports that are kept."""

import os

# Great Expectations reads it when it is imported, which every module below may be the first to do.
os.environ["GX_ANALYTICS_ENABLED"] = "false"
