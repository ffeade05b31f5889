"""Audits of staged data: suites, Great Expectations over DuckDB, quarantine, reports; imports only core, spec and lake.

Great Expectations is imported nowhere else; its undocumented names are in ``gx_private``.
"""

import os

# Great Expectations reads the variable at import, and any module below may import it first
os.environ["GX_ANALYTICS_ENABLED"] = "false"
