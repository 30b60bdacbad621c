"""Derived columns again, from a dataset folder alone: no raw log.

Enters: a dataset folder of ours. Leaves: the same folder, whole, with derived columns recomputed or
added. The unit of work is a pair of shards, so threads, or the machines of a Ray cluster, share it.
"""

from luab_data.derivation.run import Recomputed as Recomputed
from luab_data.derivation.run import derive as derive
