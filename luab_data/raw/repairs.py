"""What readers mend in a log instead of refusing a record: `repaired` of the manifest counts it.

`{rule: count}` of values that a reader changed or left out; rules without any are absent. Converted
has the same mapping, and `luab-data check` prints it with these sentences as lint of the log.
"""

from __future__ import annotations

REPAIRS: dict[str, str] = {
    "trace-point-dropped": "A trace point without a coordinate or time was left out.",
    "name-from-path": "A class or a name that says `%s`, or contradicts the path of its file"
    " in the log, was taken from the path.",
    "worker-id-padded": "Blanks around a worker id were cut off.",
    "worker-id-empty": "An empty worker id was read as no worker id.",
}
"""Every repair: id -> what was done, one sentence."""
