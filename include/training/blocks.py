"""Blocks of rows that depend on each other and are therefore resampled together: see ``partitions.block_of``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from include.core import partitions

Codes = NDArray[np.int64]


def block_codes(keys: Sequence[str] | NDArray[np.str_]) -> Codes:
    """Return the number of each row's block, from 0 in order of time; ``keys`` are the rows' partition keys."""
    names, of_names = np.unique(np.asarray(keys).astype(str), return_inverse=True)
    of_blocks = np.unique([partitions.block_of(str(name)) for name in names], return_inverse=True)[1]
    found: Codes = of_blocks[of_names].astype(np.int64)
    return found
