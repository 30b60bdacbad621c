from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, assume, given, settings
from logs import Member, members, tar, xml

from luab_data.errors import ArchiveError
from luab_data.raw import tar as tar_module
from luab_data.raw.source import Source, system_of
from luab_data.raw.tar import SPARE_BYTES, runs

BODY = xml()


def read(path: Path, **options: int) -> list[Member]:
    source = Source(path)
    try:
        return list(members(source, **options))
    finally:
        source.close()


@pytest.mark.parametrize("name", ["log.tar.gz", "log.tar"])
def test_members_come_in_order_with_their_bytes(tmp_path: Path, name: str):
    path = tar(tmp_path / name, [(f"a/{i}.xml", BODY + b"%d" % i) for i in range(40)])
    seen: list[int] = []
    source = Source(path, seen.append)
    found = list(members(source))
    assert [m.name for m in found] == [f"a/{i}.xml" for i in range(40)]
    assert [m.body for m in found] == [BODY + b"%d" % i for i in range(40)]
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sum(seen) == path.stat().st_size
    source.close()


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("train_xml/../../escape.xml", "unsafe-path"),
        ("/etc/escape.xml", "unsafe-path"),
        ("C:/escape.xml", "unsafe-path"),
        ("a\\..\\..\\escape.xml", "unsafe-path"),
        ("README.txt", "not-xml"),
        ("a/" + "x" * 300 + ".txt", "not-xml"),
        ("no_suffix", "not-xml"),
    ],
)
def test_members_that_must_not_be_used(tmp_path: Path, name: str, rule: str):
    (member,) = read(tar(tmp_path / "log.tar.gz", {name: BODY}))
    assert member.problem is not None and member.problem.rule == rule
    assert member.body == b""
    assert [p.name for p in tmp_path.iterdir()] == ["log.tar.gz"]


def test_windows_separators_and_long_and_undecodable_names(tmp_path: Path):
    long = "a/" + "b" * 200 + "/n1_1.xml"
    with tarfile.open(tmp_path / "log.tar", "w", format=tarfile.GNU_FORMAT) as out:
        for name in ("train_xml\\n1\\n1_1.xml", long, "a/\udcff.xml"):
            info = tarfile.TarInfo(name)
            out.addfile(info, io.BytesIO())
    names = [m.name for m in read(tmp_path / "log.tar")]
    assert names == ["train_xml/n1/n1_1.xml", long, "a/\\xff.xml"]
    assert all(m.problem is None for m in read(tmp_path / "log.tar"))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_bad_members(tmp_path: Path, kind: bytes):
    with tarfile.open(tmp_path / "log.tar.gz", "w:gz") as out:
        info = tarfile.TarInfo("a/n1_1.xml")
        info.type, info.linkname = kind, "/etc/passwd"
        out.addfile(info)
    (member,) = read(tmp_path / "log.tar.gz")
    assert member.problem is not None and member.problem.rule == "not-a-file"


def test_a_member_over_the_limit_is_never_read(tmp_path: Path):
    path = tar(tmp_path / "log.tar.gz", {"a.xml": b"<" * 5000, "b.xml": BODY})
    large, small = read(path, max_member_bytes=4000)
    assert large.problem is not None and "5000 bytes" in str(large.problem)
    assert small.body == BODY


@pytest.mark.parametrize("share", [0.3, 0.6, 0.999])
def test_a_cut_gzip_says_after_which_member(tmp_path: Path, share: float):
    path = tar(tmp_path / "log.tar.gz", [(f"a/{i}.xml", BODY * 20 + b"%d" % i) for i in range(60)])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ArchiveError, match=r"after (member a/\d+\.xml|its start)"):
        read(path)


def test_a_cut_gzip_trailer_and_a_flipped_byte_are_noticed(tmp_path: Path):
    path = tar(tmp_path / "log.tar.gz", [(f"a/{i}.xml", BODY) for i in range(9)])
    data = path.read_bytes()
    path.write_bytes(data[:-4])
    with pytest.raises(ArchiveError, match="cut or damaged"):
        read(path)
    path.write_bytes(data[:-6] + bytes([data[-6] ^ 1]) + data[-5:])
    with pytest.raises(ArchiveError, match="cut or damaged"):
        read(path)


def test_a_plain_tar_cut_between_members_is_noticed(tmp_path: Path):
    path = tar(tmp_path / "log.tar", [(f"a/{i}.xml", BODY) for i in range(9)])
    with tarfile.open(path) as whole:
        end = whole.getmembers()[5].offset
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(ArchiveError, match=r"after member a/4\.xml \(no end-of-archive mark\)"):
        read(path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a tar archive"),
        (b"hello", "not a tar archive"),
        (gzip.compress(b"hello" * 300, mtime=0), "not a tar archive"),
        (bytes(10240), "holds no file at all"),
        (lzma.compress(b"x" * 3000), r"compressed with xz.*`xz -dk FILE`"),
        (bz2.compress(b"x" * 3000), "compressed with bzip2"),
        (b"PK\x03\x04" * 400, "a zip archive; unpack it"),
        (gzip.compress(gzip.compress(bytes(10240), mtime=0), mtime=0), "gzip within gzip"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "`git lfs pull`"),
        (b"\n<!doctype HTML><html><p>Sign in", "an HTML page"),
        (b"PAR1" + bytes(80), "a Parquet file"),
    ],
)
def test_what_is_no_tar_is_called_by_its_name(tmp_path: Path, data: bytes, said: str):
    path = tmp_path / "log.tar.gz"
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match=rf"log\.tar\.gz: .*{said}"):
        read(path)


def test_what_macos_and_windows_left_there_is_no_member(tmp_path: Path):
    aside = ["._.", "a/._n1_1.xml", "a/.DS_Store", "__MACOSX/a/n1_1.xml", "__MACOSX/._a"]
    also = ["a/Thumbs.db", "a/Desktop.ini"]
    tars = []
    for name, others in (("clean.tar", []), ("mac.tar", [*aside, *also])):
        found = [("a/n1_1.xml", BODY), *((n, b"\0\5\x16\7") for n in others), ("a/n1_2.xml", BODY)]
        source = Source(tar(tmp_path / name, found))
        tars.append(list(members(source, run_bytes=2048)))
        assert source.left_aside == ({"macOS": 5, "Windows": 2} if others else {})
        source.close()
    assert tars[0] == tars[1] and len(tars[0]) == 2


@pytest.mark.parametrize("name", ["a/x._y.xml", "a/DS_Store.xml", "my__MACOSX/n1_1.xml"])
def test_names_that_only_look_like_theirs_are_members(tmp_path: Path, name: str):
    assert [m.name for m in read(tar(tmp_path / "log.tar", {name: BODY}))] == [name]


def test_a_pax_header_on_every_member_is_read_with_the_plain_ones(tmp_path: Path, monkeypatch: Any):
    path = tmp_path / "log.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
        for i in range(300):
            info = tarfile.TarInfo(f"a/n1_{i}.xml")
            info.size, info.mtime = len(BODY), i + 0.5
            info.pax_headers = {"LIBARCHIVE.creationtime": "1.5"}
            if i == 200:  # this one tells something
                info.pax_headers["path"] = "b/n1_200.xml"
            out.addfile(info, io.BytesIO(BODY))
    odd = []
    real = tar_module.odd_header
    monkeypatch.setattr(tar_module, "odd_header", lambda w, at: odd.append(at) or real(w, at))
    names = [m.name for m in read(path)]
    assert names == [f"{'b' if i == 200 else 'a'}/n1_{i}.xml" for i in range(300)]
    assert len(odd) == 1


def test_a_folder_is_read_as_the_tar_that_would_hold_it(tmp_path: Path):
    folder = tmp_path / "train_xml"
    (folder / "n2").mkdir(parents=True)
    (folder / "n1").mkdir()
    for name in ("n2/n2_1.xml", "n1/n1_2.xml", "n1/._n1_2.xml", ".DS_Store", "n1/notes.txt"):
        (folder / name).write_bytes(BODY + name.encode())
    (folder / "n1" / "n1_3.xml").symlink_to("nowhere")
    long = folder / ("b" * 120) / "n1_4.xml"
    long.parent.mkdir()
    long.write_bytes(BODY)
    source = Source(folder)
    found = list(members(source, run_bytes=2048))
    digest = source.sha256
    source.close()
    assert [(m.name, m.problem and m.problem.rule) for m in found] == [
        (f"train_xml/{'b' * 120}/n1_4.xml", None),
        ("train_xml/n1/n1_2.xml", None),
        ("train_xml/n1/n1_3.xml", "not-a-file"),
        ("train_xml/n1/notes.txt", "not-xml"),
        ("train_xml/n2/n2_1.xml", None),
    ]
    assert found[1].body == BODY + b"n1/n1_2.xml" and source.left_aside == {"macOS": 2}
    again = Source(folder)
    assert len(list(members(again))) == 5 and again.sha256 == digest
    again.close()
    assert [(m.name, m.body) for m in read(long)] == [(f"{'b' * 120}/n1_4.xml", BODY)]


def test_an_empty_folder_holds_nothing(tmp_path: Path):
    with pytest.raises(ArchiveError, match="holds no file at all"):
        read(tmp_path)


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_archives_joined_by_cat_are_not_half_read(tmp_path: Path, suffix: str):
    parts = [tar(tmp_path / f"{n}.{suffix}", {f"a/{n}.xml": BODY}) for n in "ab"]
    path = tmp_path / f"c.{suffix}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(ArchiveError, match=r"after member a/a\.xml .*must not be joined"):
        read(path)


def test_a_broken_header_in_the_middle_is_noticed(tmp_path: Path):
    path = tar(tmp_path / "log.tar", [(f"a/{i}.xml", BODY) for i in range(9)])
    with tarfile.open(path) as whole:
        offset = whole.getmembers()[5].offset
    data = bytearray(path.read_bytes())
    data[offset + 10] ^= 255
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"after member a/4\.xml"):
        read(path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ArchiveError, match=r"none\.tar\.gz"):
        Source(tmp_path / "none.tar.gz")


# --- runs against tarfile ------------------------------------------------------------------------

names = st.one_of(
    st.from_regex(r"[a-z]{1,3}/[a-z0-9_]{1,9}\.xml", fullmatch=True),
    st.from_regex(r"[a-z]{90,130}/[a-z]{1,120}\.xml", fullmatch=True),
    st.sampled_from(
        ["ä/ö.xml", "a b/c.xml", "x.XML", "a/b.txt", "a/\udcff.xml", "a:b/c.xml", "a/._b.xml"]
    ),
)
kinds = st.sampled_from([tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE])
formats = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(names, kinds, st.integers(0, 3000), st.booleans()), min_size=1, max_size=12),
    formats,
    st.sampled_from([512, 1024, 4096, 2**20]),
    st.booleans(),
)
def test_any_tar_is_read_as_tarfile_reads_it(tmp_path, found, format, run_bytes: int, zipped: bool):
    # A name that is cut at a slash is to tarfile the folder of old tars.
    found = [one for one in found if not one[0][:100].endswith("/")]
    assume(found)
    path = tmp_path / ("log.tar.gz" if zipped else "log.tar")
    with tarfile.open(path, "w:gz" if zipped else "w", format=format) as out:
        for number, (name, kind, size, dated) in enumerate(found):
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, size if kind in tarfile.REGULAR_TYPES else 0
            info.mtime = number + 0.5 if dated and format == tarfile.PAX_FORMAT else number
            if kind == tarfile.SYMTYPE:
                info.linkname = "elsewhere" * 20
            try:
                out.addfile(info, io.BytesIO(bytes([number + 1]) * info.size))
            except (ValueError, UnicodeError):  # USTAR has no room for some names
                return
    with tarfile.open(path, errors="surrogateescape") as tar:
        infos = [info for info in tar if not info.isdir() and not system_of(info.name)]
        expected = [tar.extractfile(i).read() if i.isreg() else b"" for i in infos]
    source = Source(path)
    names, bodies = [], []
    for run in runs(source, run_bytes=run_bytes):
        assert run.data[-SPARE_BYTES:].sum() == 0
        for index, name in enumerate(run.names):
            names.append(name)
            problem = run.problems.get(index)
            bodies.append(None if problem else run.body(index))
    source.close()
    assert len(names) == len(infos)
    for name, body, info, content in zip(names, bodies, infos, expected, strict=True):
        if info.name.isascii():
            assert name == info.name
        if body is None:
            assert not info.isreg() or not name.lower().endswith(".xml") or ":" in name
        else:
            assert body == content


def test_every_cut_of_a_tar_is_noticed_and_gives_what_came_before(tmp_path: Path):
    path = tar(tmp_path / "log.tar", [(f"a/{i}.xml", b"x" * (300 * i)) for i in range(5)])
    whole = path.read_bytes()
    with tarfile.open(path) as found:
        ends = [info.offset_data + info.size for info in found]
        last = found.getmembers()[-1]
    end = last.offset_data + (last.size + 511) // 512 * 512
    for cut in range(1, len(whole) - 1, 97):
        path.write_bytes(whole[:cut])
        source = Source(path)
        count = 0
        if cut >= end + 512:  # tar pads its end mark; 512 zeros are one
            count = sum(len(run.names) for run in runs(source))
        else:
            with pytest.raises(ArchiveError):
                for run in runs(source, run_bytes=1024):
                    count += len(run.names)
        source.close()
        assert count <= sum(e <= cut for e in ends)
        assert count >= sum(e + 512 <= cut for e in ends)


def test_a_field_that_nobody_needs_may_be_odd_wherever_a_window_ends(tmp_path: Path):
    """tarfile refuses a mode that is no octal number; a reader of names and bodies need not."""
    header = bytearray(tarfile.TarInfo("a/n1_1.xml").tobuf())
    header[124:136] = b"%011o\0" % len(BODY)
    header[100:108] = b"8000644\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    member = bytes(header) + BODY + bytes(-len(BODY) % 512)
    (tmp_path / "log.tar").write_bytes(member * 9 + bytes(1024))
    for run_bytes in (512, 1024, 4096, 2**20):
        assert [m.body for m in read(tmp_path / "log.tar", run_bytes=run_bytes)] == [BODY] * 9
    (tmp_path / "log.tar").write_bytes(member[:700])
    with pytest.raises(ArchiveError, match=r"the file ends within a/n1_1\.xml"):
        read(tmp_path / "log.tar", run_bytes=512)


def test_a_gigabyte_member_is_passed_over_in_little_memory(tmp_path: Path):
    """Sparse on disk; the bytes are read, in pieces, and never kept."""
    path = tmp_path / "log.tar"
    size = 2**30
    small, large = tarfile.TarInfo("a/n1_2.xml"), tarfile.TarInfo("a/n1_1.xml")
    small.size, large.size = len(BODY), size
    with path.open("wb") as out:
        out.write(large.tobuf())
        out.seek(size, 1)
        out.write(small.tobuf() + BODY + bytes(-len(BODY) % 512) + bytes(1024))
    tracemalloc.start()
    first, second = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert first.problem is not None and first.problem.rule == "too-large"
    assert second.body == BODY and peak < 64 * 2**20


def odd_tar(path: Path, size_field: bytes, body: bytes = BODY, kind: bytes = b"0") -> Path:
    """One member whose size field is as given, its checksum right, and a plain one behind it."""
    with path.open("wb") as out:
        for name, field, content in ((b"a/n1_1.xml", size_field, body), (b"a/n1_2.xml", b"", BODY)):
            info = tarfile.TarInfo(name.decode())
            info.size = len(content)
            header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
            if field:
                header[124:136] = field
                header[156:157] = kind
                header[148:156] = b" " * 8
                header[148:156] = b"%06o\0 " % sum(header)
            out.write(header + content + bytes(-len(content) % 512))
        out.write(bytes(1024))
    return path


@pytest.mark.parametrize(
    "field",
    [
        *(b"-0000001000\0", b"-1         \0", b"+0000001000\0", b"0o00001000\0 ", b"\xff" * 12),
        *(b"\xff" + b"\0" * 11, b"\x80" + b"\xff" * 11, b"00000001274\xff", b"9" * 11 + b"\0"),
    ],
)
def test_odd_sizes_end_in_an_answer(tmp_path: Path, field: bytes):
    path = odd_tar(tmp_path / "log.tar", field)
    with pytest.raises(ArchiveError):
        read(path)


@pytest.mark.parametrize("size", [100, 1000, 5000])
@pytest.mark.parametrize("form", [b"%012o", b"%011o ", b"%010o\0 ", b"%11o\0"])
def test_sizes_in_every_form_that_tarfile_takes(tmp_path: Path, size: int, form: bytes):
    body = b"x" * size
    found = read(odd_tar(tmp_path / "log.tar", form % size, body))
    assert [m.body for m in found] == [body, BODY]


def test_runs_are_of_their_usual_size_again_after_a_large_member(tmp_path: Path):
    bodies = [(f"a/n1_{i}.xml", BODY) for i in range(900)]
    bodies[10] = ("a/n1_10.xml", BODY * 400)
    source = Source(tar(tmp_path / "log.tar", bodies))
    sizes = [len(run.data) for run in runs(source, run_bytes=2**15)]
    source.close()
    assert max(sizes) > 2**19 and sizes[-1] == sizes[0] == 2**15 + SPARE_BYTES
