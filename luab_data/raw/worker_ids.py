"""Worker ids leave the log only as keyed hashes.

The release's ids are anonymised already, but they can be joined with every other log of the same
platform. A hash with a secret key cannot, and equal workers stay equal.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from pathlib import Path

from luab_data.errors import OptionError, OutputError

KEY_VARIABLE = "LUAB_WORKER_KEY_FILE"
MIN_KEY_BYTES = 16

METHOD = "HMAC-SHA256"
PUBLISHED_ID = "[0-9a-f]{16}"
"""What every published worker id looks like, as a regular expression."""

RELEASE_IDS = "release ids, already anonymous (10 hex digits)"
OTHER_IDS = "ids of another kind"

_RELEASE_ID = re.compile("[0-9A-Fa-f]{10}")
_MAX_KNOWN = 2**17  # hashes kept; the releases have fewer than 2**11 workers


class WorkerHash:
    """worker id -> the first 16 hex digits of its HMAC-SHA256 with a secret key (RFC 2104).

    Args:
        key: the secret, at least 16 bytes, all of which count. Equal keys give equal hashes, so
            datasets can be joined.

    Attributes:
        method: name of the hash, as the manifest has it.
        only_release_ids: whether every id so far looked like the releases' own, which are
            anonymous already. A converter that hashes in several processes sets it to the `and` of
            theirs.
    """

    method = METHOD

    def __init__(self, key: bytes) -> None:
        if len(key) < MIN_KEY_BYTES:
            raise OptionError(
                f"the worker key has {len(key)} bytes; expected at least {MIN_KEY_BYTES}."
                " `openssl rand -hex 32 > FILE` makes one"
            )
        self._key = key
        self._known: dict[str, str] = {}
        self._before: dict[str, str] = {}
        self.only_release_ids = True

    def __call__(self, worker_id: str) -> str:
        """The published id of a worker: 16 hex digits."""
        known = self._known.get(worker_id)
        if known is None:
            if len(self._known) >= _MAX_KNOWN:  # a log in which every record has its own worker
                self._known.clear()
                self._before.clear()
            if not _RELEASE_ID.fullmatch(worker_id):
                self.only_release_ids = False
            # JSON may escape half a character; an error of the encoder would show the id.
            message = worker_id.encode("utf-8", "surrogatepass")
            known = self._known[worker_id] = self._digest(message)[:16]
            self._before[known] = worker_id
        return known

    def before(self, published: str | None) -> str | None:
        """The id behind a hash of ours; None if it is not among those that are kept."""
        return None if published is None else self._before.get(published)

    def text(self, text: str) -> str:
        """What is published in the place of another text that would tell who a worker is."""
        return f"anon:{self._digest(text.encode('utf-8', 'surrogatepass'))[:16]}"

    def _digest(self, message: bytes) -> str:
        return hmac.digest(self._key, message, "sha256").hex()

    @property
    def fingerprint(self) -> str:
        """8 hex digits that tell two keys apart without giving either away."""
        return self._digest(b"luab worker key")[:8]

    def describe(self) -> dict[str, str]:
        """The manifest's `worker_ids`: how the ids were hashed, and what they were before.

        Returns: `method`; `key`, the fingerprint of the key; `source`, RELEASE_IDS if every id
        hashed so far has the form of the releases' (also if there was none), else OTHER_IDS.
        """
        source = RELEASE_IDS if self.only_release_ids else OTHER_IDS
        return {"method": self.method, "key": self.fingerprint, "source": source}


def default_key_file() -> Path:
    """$LUAB_WORKER_KEY_FILE, else `luab/worker.key` in the user's configuration folder."""
    if KEY_VARIABLE in os.environ:
        return Path(os.environ[KEY_VARIABLE])
    base = os.environ.get("XDG_CONFIG_HOME") or os.environ.get("APPDATA")
    return (Path(base) if base else Path.home() / ".config") / "luab" / "worker.key"


def read_key(path: Path | None = None) -> bytes:
    """The secret key: of the given file, else of the default file, made on first use (mode 600).

    Raises:
        OptionError: a named file is missing, empty or too short.
        OutputError: the default file cannot be made.
    """
    file = path or default_key_file()
    if path is None and KEY_VARIABLE not in os.environ and not file.exists():
        _make_key(file)
    try:
        key = file.read_bytes().strip()
    except OSError as error:
        raise OptionError(
            f"{file}: cannot read the worker key ({error.strerror}); expected a file with a secret."
            " `openssl rand -hex 32 > FILE` makes one"
        ) from error
    if len(key) < MIN_KEY_BYTES:
        raise OptionError(f"{file}: {len(key)} bytes; expected at least {MIN_KEY_BYTES}")
    return key


def _make_key(file: Path) -> None:
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(secrets.token_hex(32) + "\n")
        try:
            os.link(temporary, file)  # fails if another process made one meanwhile: theirs holds
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not file.exists():
                temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{file}: cannot make the secret key that hashes worker ids ({error.strerror})."
            f" Give one with --worker-key-file FILE or ${KEY_VARIABLE}"
        ) from error
