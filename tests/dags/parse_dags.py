"""Run as a script: parse the DAG folder as the DAG processor does, and print what was found as JSON.

``--no-serialized`` leaves out the DAGs themselves, which takes longer to write than they took to parse.
"""

from __future__ import annotations

import json
import sys
import time

started = time.perf_counter()
import airflow.sdk  # noqa: E402, F401

sdk = time.perf_counter() - started

from airflow.dag_processing.dagbag import DagBag  # noqa: E402
from airflow.serialization.serialized_objects import DagSerialization  # noqa: E402
from airflow.settings import DAGS_FOLDER  # noqa: E402

before = set(sys.modules)
started = time.perf_counter()
bag = DagBag(DAGS_FOLDER)
parse = time.perf_counter() - started
asked = {} if "--no-serialized" in sys.argv else bag.dags
serialized = {dag_id: DagSerialization.to_dict(dag) for dag_id, dag in asked.items()}
print(
    json.dumps(
        {
            "import_sdk_seconds": sdk,
            "parse_seconds": parse,
            "import_errors": bag.import_errors,
            "dags": len(bag.dags),
            # as Airflow hashes it, to see whether a DAG has a new version
            "serialized": {dag_id: json.dumps(data, sort_keys=True) for dag_id, data in serialized.items()},
            "imported": sorted({name.split(".")[0] for name in set(sys.modules) - before}),
        }
    )
)
