from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luab_data.errors import OptionError
from luab_data.raw import worker_ids
from luab_data.raw.worker_ids import OTHER_IDS, RELEASE_IDS, WorkerHash, read_key

KEY = b"a secret of tests, long enough"


def hmac_by_hand(key: bytes, message: bytes) -> str:
    """RFC 2104, as it is written there."""
    key = hashlib.sha256(key).digest() if len(key) > 64 else key
    key = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).hexdigest()


def test_the_hash_is_that_of_the_rfc():
    """RFC 4231, test case 1."""
    assert WorkerHash(b"\x0b" * 20)("Hi There") == "b0344c61d8db3853"


@given(key=st.binary(min_size=16, max_size=200), worker=st.text())
def test_every_key_and_id_hash_as_by_hand(key: bytes, worker: str):
    hashed = WorkerHash(key)
    assert hashed(worker) == hmac_by_hand(key, worker.encode())[:16]
    assert hashed(worker) == hashed(worker)
    assert hashed.fingerprint == hmac_by_hand(key, b"luab worker key")[:8]


def test_half_a_character_is_an_id_like_any_other():
    hashed = WorkerHash(KEY)
    assert len({hashed("\ud800"), hashed("\udfff"), hashed("?"), hashed("")}) == 4


def test_a_log_with_a_worker_for_every_record_fits_in_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker_ids, "_MAX_KNOWN", 10)
    hashed, whole = WorkerHash(KEY), WorkerHash(KEY)
    ids = [f"{number % 37:010X}" for number in range(500)]
    assert [hashed(i) for i in ids] == [hmac_by_hand(KEY, i.encode())[:16] for i in ids]
    assert len(hashed._known) <= 10 < len({whole(i) for i in ids})


@pytest.mark.parametrize(
    ("ids", "source"),
    [
        (["00AA3B5E80", "94c49a4ea1"], RELEASE_IDS),
        (["00AA3B5E80", "A2SUAM7FEUQ9M1"], OTHER_IDS),
        (["00AA3B5E8"], OTHER_IDS),
        (["00AA3B5E801"], OTHER_IDS),
        (["00AA3B5E80\n"], OTHER_IDS),
        (["00AA3B5E8G"], OTHER_IDS),
        ([""], OTHER_IDS),
    ],
)
def test_the_manifest_hears_what_the_ids_were_but_not_which(ids: list[str], source: str):
    hashed = WorkerHash(KEY)
    for worker in ids:
        hashed(worker)
    told = hashed.describe()
    assert told == {"method": "HMAC-SHA256", "key": hashed.fingerprint, "source": source}
    hashed("00AA3B5E80")  # once seen, an id of another kind is not forgotten
    assert hashed.describe() == told


def test_a_key_that_is_too_short_is_refused_and_not_shown():
    with pytest.raises(OptionError, match="15 bytes; expected at least 16") as error:
        WorkerHash(b"fifteen letters")
    assert "fifteen" not in str(error.value)


def test_a_key_file_may_end_with_a_line_break(tmp_path):
    for text in (b"0123456789abcdef", b"0123456789abcdef\n", b"0123456789abcdef\r\n"):
        (tmp_path / "key").write_bytes(text)
        assert read_key(tmp_path / "key") == b"0123456789abcdef"
