"""Worker ids leave the log only as keyed hashes.

The release's ids are anonymised already, but they can be joined with every other log of the same
platform. A hash with a secret key cannot, and equal workers stay equal.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from luab_data.errors import OptionError, OutputError

KEY_VARIABLE = "LUAB_WORKER_KEY_FILE"
MIN_KEY_BYTES = 16
_MAX_KEY_BYTES = hashlib.blake2b.MAX_KEY_SIZE


class WorkerHash:
    """worker id -> 16 hex digits of BLAKE2b with a secret key.

    Args:
        key: the secret, at least 16 bytes, all of which count. Equal keys give equal hashes, so
            datasets can be joined.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < MIN_KEY_BYTES:
            raise OptionError(
                f"the worker key has {len(key)} bytes; expected at least {MIN_KEY_BYTES}."
                " `openssl rand -hex 32 > FILE` makes one"
            )
        # BLAKE2b takes 64 bytes of key; a longer secret (a PEM file, say) enters as its digest.
        self._key = key if len(key) <= _MAX_KEY_BYTES else hashlib.blake2b(key).digest()
        self._known: dict[str, str] = {}

    def __call__(self, worker_id: str) -> str:
        """The published id of a worker."""
        known = self._known.get(worker_id)
        if known is None:
            digest = hashlib.blake2b(worker_id.encode(), key=self._key, digest_size=8)
            known = self._known[worker_id] = digest.hexdigest()
        return known

    @property
    def fingerprint(self) -> str:
        """Tells two keys apart without giving either away; part of the manifest."""
        return hashlib.blake2b(b"luab worker key", key=self._key, digest_size=4).hexdigest()


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
            f" Give one with --worker-key FILE or ${KEY_VARIABLE}"
        ) from error
