"""Small changes of known kinds to the text of a log, for the fuzzer.

A change is (kind, i, j): the numbers choose places and replacements modulo what there is, so any
of them means something, and Hypothesis can shrink a failing log to few and simple changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from logs import action, block, coco_record, xml

Change = Callable[[bytes, int, int], bytes]

# --- any bytes ----------------------------------------------------------------------------------


def place(body: bytes, i: int) -> int:
    """A place in the text, its end included."""
    return i % (len(body) + 1)


def flip(body: bytes, i: int, j: int) -> bytes:
    at = i % max(1, len(body))
    return body[:at] + bytes(b ^ (1 << j % 8) for b in body[at : at + 1]) + body[at + 1 :]


def truncate(body: bytes, i: int, j: int) -> bytes:
    return body[: place(body, i)]


def remove(body: bytes, i: int, j: int) -> bytes:
    at = place(body, i)
    return body[:at] + body[at + j % 64 :]


def duplicate(body: bytes, i: int, j: int) -> bytes:
    at = place(body, i)
    return body[:at] + body[at : at + j % 600] + body[at:]


def splice(body: bytes, i: int, j: int) -> bytes:
    """The start of a text and the end of the same text from another place on."""
    return body[: place(body, i)] + body[place(body, j) :]


BYTES: dict[str, Change] = {
    f.__name__: f for f in (flip, truncate, remove, duplicate, splice)
}  # fmt: skip

_NUMBERS = (
    *(b"0", b"-0", b"-0.0", b"+1", b"1.", b".5", b"1e3", b"1E-3", b"1e400", b"-1e999", b"0x10"),
    *(b"NaN", b"nan", b"Infinity", b"-inf", b"1_0", b"1,5", b"01", b"--1", b"", b" 7 ", b"None"),
    *(b"null", b"true", b"True", b"12.0", b"9223372036854775807", b"9223372036854775808"),
    *(b"32768", b"-32769", b"2147483648", b"4.9e-324", b"1" * 30, b"9" * 5000),
    *("٣".encode(), "７".encode(), b"0.1000000000000000055511151231257827", b"1e", b"\x00"),
)

# --- XML ----------------------------------------------------------------------------------------

_LEAF = re.compile(rb"<(\w+)>([^<>]*)</\1>")
_ELEMENT = re.compile(rb"[ \t]*<(\w+)>(?:(?!<\1>).)*?</\1>\s?", re.DOTALL)
_TAGS = tuple(sorted(set(re.findall(rb"<(\w+)>", xml(blocks=[block()], boxes=[(1, 1, 2, 2)])))))
_XML_TOKENS = (
    *(b"&amp;", b"&lt;", b"&#13;", b"&#0;", b"&#x10ffff;", b"&unknown;", b"&", b"<", b">", b"]]>"),
    *(b"<!-- c -->", b"<!-- -- -->", b"<?p i?>", b"<![CDATA[x]]>", b"<![CDATA[", b"\r\n", b"\t"),
    *(b'<!DOCTYPE a [<!ENTITY b "c">]>', b"<?xml version='1.0' encoding='latin-1'?>", b"\xff"),
    *(b"\xef\xbb\xbf", b"\x00", "\u00a0\u2028".encode(), b"<x/>", b"</metadata>", b"<metadata>"),
    *(b"<metadata/>", b"</annotation>", b"<object/>", b"<b>1</b>", b"<selectedRecord/>", b" "),
    *(b"\n", b"None", b"\x85", b"\x1f", b"xmlns='u'"),
)


def _leaf(body: bytes, i: int) -> re.Match[bytes] | None:
    found = list(_LEAF.finditer(body))
    return found[i % len(found)] if found else None


def _replaced(body: bytes, match: re.Match[bytes] | None, group: int, text: bytes) -> bytes:
    return body if match is None else body[: match.start(group)] + text + body[match.end(group) :]


def number(body: bytes, i: int, j: int) -> bytes:
    return _replaced(body, _leaf(body, i), 2, _NUMBERS[j % len(_NUMBERS)])


def swap_values(body: bytes, i: int, j: int) -> bytes:
    first, second = sorted((_leaf(body, k) for k in (i, j)), key=lambda m: m.start() if m else 0)
    if first is None or second is None or first.start() == second.start():
        return body
    return _replaced(_replaced(body, second, 2, first[2]), first, 2, second[2])


def rename(body: bytes, i: int, j: int) -> bytes:
    match, tag = _leaf(body, i), _TAGS[j % len(_TAGS)]
    text = b"<%b>%b</%b>" % (tag, match[2], tag) if match else b""
    return _replaced(body, match, 0, text)


def token(body: bytes, i: int, j: int) -> bytes:
    at = place(body, i)
    return body[:at] + _XML_TOKENS[j % len(_XML_TOKENS)] + body[at:]


def token_in_value(body: bytes, i: int, j: int) -> bytes:
    match = _leaf(body, i)
    return _replaced(
        body, match, 2, (match[2] if match else b"") + _XML_TOKENS[j % len(_XML_TOKENS)]
    )


def wrap(body: bytes, i: int, j: int) -> bytes:
    """A value as CDATA, in white space, in an element, or with an attribute on its tag."""
    match = _leaf(body, i)
    if match is None:
        return body
    forms = (b"<![CDATA[%b]]>", b" %b ", b"\n%b\n", b"<b>%b</b>", b"%b<!-- c -->", b"&#32;%b")
    if j % 7 == 6:
        return body[: match.end(1)] + b' a="1"' + body[match.end(1) :]
    return _replaced(body, match, 2, forms[j % 7] % match[2])


def _element(body: bytes, i: int) -> re.Match[bytes] | None:
    return _ELEMENT.search(body, body.find(b"<", place(body, i)) + (i % 2))


def remove_element(body: bytes, i: int, j: int) -> bytes:
    return _replaced(body, _element(body, i), 0, b"")


def repeat_element(body: bytes, i: int, j: int) -> bytes:
    match = _element(body, i)
    return _replaced(body, match, 0, match[0] * (2 + j % 3) if match else b"")


def move_line(body: bytes, i: int, j: int) -> bytes:
    lines = body.splitlines(keepends=True)
    if lines:
        lines.insert(j % len(lines), lines.pop(i % len(lines)))
    return b"".join(lines)


def nest(body: bytes, i: int, j: int) -> bytes:
    """Deep nesting or very many siblings in front of a line."""
    at = body.find(b"\n", place(body, i)) + 1
    depth = (2, 30, 300, 3000)[j % 4]
    more = (b"<a>" * depth, b"<a>" * depth + b"</a>" * depth, b"<a/>" * depth)[j // 4 % 3]
    return body[:at] + more + body[at:]


def layout(body: bytes, i: int, j: int) -> bytes:
    """The whole text with other white space or another encoding."""
    forms: tuple[Callable[[bytes], bytes], ...] = (
        lambda b: b.replace(b"\n", b"\r\n"),
        lambda b: re.sub(rb"\n *", b"", b),
        lambda b: b.replace(b"  ", b"\t"),
        lambda b: b"\xef\xbb\xbf" + b,
        lambda b: b.decode("utf-8", "replace").encode("utf-16"),
        lambda b: b.removesuffix(b"\n"),
        lambda b: b + b"\n",
        lambda b: b"\n" + b,
    )
    return forms[j % len(forms)](body)


XML: dict[str, Change] = {
    **BYTES,
    **{
        f.__name__: f
        for f in (
            *(number, swap_values, rename, token, token_in_value, wrap, remove_element),
            *(repeat_element, move_line, nest, layout),
        )
    },
}

# --- JSON ---------------------------------------------------------------------------------------

_JSON_VALUE = re.compile(rb'(?<=:)\s*(-?[\d.eE+-]+|true|false|null|"[^"\\]*")')
_JSON_MEMBER = re.compile(rb'"(\w+)"\s*:\s*(-?[\d.eE+-]+|true|false|null|"[^"\\]*")\s*,?\s*')
_KEYS = tuple(sorted(set(re.findall(r'"(\w+)":', json.dumps(coco_record(1, [action("add", "dog",
              (0, 0))]))))))  # fmt: skip
_JSON_TOKENS = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"null", b"}, {", b"x", b"[]", b"{}"),
    *(b'}, {"image_id": 1', b'"\\ud800"'),
    *(b'"\\u0000"', b"\xff", b"\xef\xbb\xbf", b"\r\n", b"\n", b"// c"),
    *(b'{"image_id": 7, "worker_id": "w"}', b'"}, {\\"image_id\\": 3"', b'"a": 1,', b'"x": {},'),
    *(b'"\\u00e9\\n"', "é\u2028".encode(), b'"\x01"', b"tru", b"-"),
)  # fmt: skip


def json_number(body: bytes, i: int, j: int) -> bytes:
    found = list(_JSON_VALUE.finditer(body))
    odd = (*_NUMBERS, *_JSON_TOKENS)[j % (len(_NUMBERS) + len(_JSON_TOKENS))]
    return _replaced(body, found[i % len(found)], 1, odd) if found else body


def json_swap(body: bytes, i: int, j: int) -> bytes:
    found = list(_JSON_VALUE.finditer(body))
    if not found or i % len(found) == j % len(found):
        return body
    first, second = (found[k] for k in sorted((i % len(found), j % len(found))))
    return _replaced(_replaced(body, second, 1, first[1]), first, 1, second[1])


def json_rename(body: bytes, i: int, j: int) -> bytes:
    found = list(_JSON_MEMBER.finditer(body))
    key = _KEYS[j % len(_KEYS)].encode()
    return _replaced(body, found[i % len(found)], 1, key) if found else body


def json_member(body: bytes, i: int, j: int) -> bytes:
    """A member left out, or there twice."""
    found = list(_JSON_MEMBER.finditer(body))
    if not found:
        return body
    match = found[i % len(found)]
    return _replaced(body, match, 0, match[0] * (2 * (j % 2)))


def json_token(body: bytes, i: int, j: int) -> bytes:
    at = place(body, i)
    return body[:at] + _JSON_TOKENS[j % len(_JSON_TOKENS)] + body[at:]


def json_nest(body: bytes, i: int, j: int) -> bytes:
    at, depth = body.find(b":", place(body, i)) + 1, (2, 30, 300, 30_000)[j % 4]
    start, end = ((b"[", b"]"), (b'{"a":', b"}"))[j // 4 % 2]
    return body[:at] + start * depth + b"1" + end * (depth * (j // 8 % 2)) + body[at:]


JSON: dict[str, Change] = {
    **BYTES,
    **{
        f.__name__: f
        for f in (json_number, json_swap, json_rename, json_member, json_token, json_nest)
    },
}
