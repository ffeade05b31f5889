"""Audits of staged data: suites as values, Great Expectations over DuckDB, reports that are kept."""
