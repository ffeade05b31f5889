"""Show the faults of broken use-case specs as an import error; the other use cases keep their DAGs.

Airflow parses only files in which its own name and the word DAG occur: this sentence makes it parse this one.
"""

from __future__ import annotations

from include.core.errors import SpecError
from include.spec.loading import broken_use_cases

faults = [fault for broken in broken_use_cases() for fault in broken.error.faults]
if faults:
    raise SpecError(faults)
