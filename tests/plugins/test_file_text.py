"""The file store's text: what it may look like, and what is said about one that is wrong."""

from __future__ import annotations

import json
import random
import sys

import pytest

from rolling_router_plugins.file_text import BadText, parse, render

ODD = {
    "": "",
    'quote " and \\': "tab\t newline\n",
    "ü €": "𝄞",
    "half a pair": "\ud834",
    "line\u2028end": "\x00",
    "rolling/null": "-",
}


def test_what_is_rendered_is_parsed_again():
    assert parse(render(ODD)) == ODD
    assert parse(render({})) == {}


def test_it_is_rendered_for_people():
    assert render({"b": "ü", "a": "10.0.0.1:80"}) == '{\n  "a": "10.0.0.1:80",\n  "b": "ü"\n}\n'.encode()
    assert render({}) == b"{}\n"


@pytest.mark.parametrize(
    "content",
    [
        b'{"a":"b"}',
        b'\xef\xbb\xbf{"a": "b"}',
        b'\r\n {\r\n\t"a"\r\n: "b"\r\n}\r\n\r\n',
        b'{"\\u0061": "b"}',
    ],
    ids=["compact", "with a byte order mark", "from another system", "escaped"],
)
def test_any_way_to_write_it_is_understood(content):
    assert parse(content) == {"a": "b"}


# Python 3.13 points at the comma, those before it at what follows.
TRAILING_COMMA = (2, 11, "trailing comma") if sys.version_info >= (3, 13) else (3, 1, "comma")

BAD = {
    # content: line, column, words
    b"": (1, 1, "it is empty; write {}"),
    b" \n\n": (1, 1, "it is empty; write {}"),
    b"\x00" * 10: (1, 1, "Expecting value"),
    b"rolling: yes": (1, 1, "Expecting value"),
    b'{\n  "a": "b",\n}': TRAILING_COMMA,
    b'{\n  "a": "b"\n  "c": "d"\n}': (3, 3, "Expecting ',' delimiter"),
    b'{\n  "a": "b': (2, 8, "Unterminated string"),
    b'{\n  "a": "b"': (2, 11, "Expecting ',' delimiter"),
    b'{"a": "b"}\n}': (2, 1, "Extra data"),
    b'{"a": "b\nc"}': (1, 9, "control character"),
    b"{'a': 'b'}": (1, 2, "double quotes"),
    b'{"a": b}': (1, 7, "Expecting value"),
    b'[["a", "b"]]': (1, 1, "one object"),
    b"\n  null": (2, 3, "one object"),
    b'"{}"': (1, 1, "one object"),
    b'{"a": "b",\n "c":\n   50}': (3, 4, "'c' is a number; it must be text in double quotes"),
    b'{"a": 1.5}': (1, 7, "'a' is a number"),
    b'{"a": ' + b"9" * 5000 + b"}": (1, 7, "'a' is a number"),
    b'{"a": NaN}': (1, 7, "'a' is a number"),
    b'{"a": true}': (1, 7, "'a' is true or false"),
    b'{"a": null}': (1, 7, "'a' is null"),
    b'{"a": {"b": "c", "b": "c"}}': (1, 7, "'a' is an object"),
    b'{"a": ["b"]}': (1, 7, "'a' is a list"),
    b'{"a": "1",\n "b": "2",\n  "a": "1"}': (3, 3, "the key 'a' is there already on line 1; remove one"),
    b'{"\\u0061": "1", "a": "2"}': (1, 17, "the key 'a' is there already"),
    b'{"a": 1, "a": "2"}': (1, 7, "'a' is a number"),
    '{"ü": "ü",\n "€ü": 3}'.encode(): (2, 8, "'€ü' is a number"),
    '{"ü": "€'.encode() + b"\xff": (1, 9, "not UTF-8"),
    b'\xef\xbb\xbf{\n "a": "\xe4"}': (2, 8, "not UTF-8"),
    b'{"a":' * 100_000: (1, 1, "nested too deeply"),
    '{"a": "b"}'.encode("utf-16"): (1, 1, "not UTF-8"),
}


@pytest.mark.parametrize(("content", "wanted"), BAD.items(), ids=range(len(BAD)))
def test_a_bad_text_is_said_to_be_so_with_line_and_column(content, wanted):
    with pytest.raises(BadText) as caught:
        parse(content)
    assert (caught.value.line, caught.value.column) == wanted[:2]
    assert wanted[2] in str(caught.value)


def test_no_part_of_a_text_is_mistaken_for_the_whole():
    whole = render(ODD)
    for length in range(len(whole) - 2):  # without the brace
        with pytest.raises(BadText):
            parse(whole[:length])


def test_whatever_is_typed_the_answer_is_keys_or_bad_text():
    chance = random.Random(20261123)
    slips = [b"", b'"', b"{", b"}", b",", b":", b"\n", b"\xc3", b"1"]
    whole = render({f"rolling/shop/{number}": f"10.0.0.{number}:80" for number in range(8)})
    for _ in range(5000):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(content))
            content[at : at + chance.randint(0, 3)] = chance.choice(slips)
        keys, wrong = _parsed(bytes(content))
        if wrong is None:
            assert json.loads(content) == keys
        else:
            assert 1 <= wrong.line <= content.count(b"\n") + 1
            assert wrong.column >= 1


def _parsed(content: bytes) -> tuple[dict[str, str] | None, BadText | None]:
    try:
        return parse(content), None
    except BadText as wrong:
        return None, wrong
