"""Scores a result table against a log's annotations with av2, both read from their Feather files."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from argoverse2_detection import scored

annotations, results, log, out, *stamps = sys.argv[1:]
truths = pd.read_feather(annotations)
truths = truths[truths["timestamp_ns"].isin([int(stamp) for stamp in stamps])].assign(log_id=log)
np.savez(out, table=scored(pd.read_feather(results), truths.reset_index(drop=True)))
