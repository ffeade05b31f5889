"""One profile for all property tests: what fails depends on the code, never on how busy the machine is."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "lifecycle",
    # the deadline and the check for slow input generation measure time; a busy machine fails both with sound code
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # continuous integration tries the same examples each time: a failure there belongs to the change that it shows
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("lifecycle")
