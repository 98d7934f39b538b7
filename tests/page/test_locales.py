"""The page's languages say the same things, and all that the page asks for."""

import json
import re
from pathlib import Path

WEB = Path(__file__).parent.parent.parent / "web"
LOCALES = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((WEB / "locales").glob("*.json"))}
SCRIPTS = "".join(path.read_text() for path in sorted((WEB / "js").glob("*.js")))
# Keys that are put together from a part and a word: the part, as the scripts write it.
PARTS = {"problem.", *re.findall(r"\b(?:t|has)\(`([a-z-]+\.)\$\{", SCRIPTS)}
MADE = {"role.", "stat.", "chart.", "choose.", "share.", "down.", "forecast.", "split.", "done.", "version.none."}


def test_english_and_korean_are_there():
    assert set(LOCALES) == {"en", "ko"}


def test_both_have_the_same_keys_with_the_same_blanks():
    english, korean = LOCALES["en"], LOCALES["ko"]
    assert set(english) == set(korean)
    for key in english:
        assert set(re.findall(r"\{\w+\}", english[key])) == set(re.findall(r"\{\w+\}", korean[key])), key


def test_no_text_is_empty_or_left_in_english():
    same = {key for key, text in LOCALES["ko"].items() if LOCALES["en"][key] == text}
    assert same <= {"stat.p50", "stat.p95", "stat.p99", "diff", "sticky.true", "no-figure", "stale.by", "who"}
    assert all(text.strip() for texts in LOCALES.values() for text in texts.values())


def asked_for() -> set[str]:
    markup = (WEB / "index.html").read_text()
    literal = set(re.findall(r"""\bt\(\s*["'`]([\w.-]+)["'`]""", SCRIPTS))
    literal |= set(re.findall(r'data-t="([\w.-]+)"', markup))
    chosen = {one for pair in re.findall(r'\bt\([^()"]*\? "([\w.-]+)" : "([\w.-]+)"', SCRIPTS) for one in pair}
    return literal | chosen | set(re.findall(r'"data-t": "([\w.-]+)"', SCRIPTS))


def test_every_key_that_the_page_asks_for_is_there():
    assert asked_for() - set(LOCALES["en"]) == set()


def test_no_key_is_left_over():
    used, made = asked_for(), tuple(PARTS | MADE)
    assert [key for key in LOCALES["en"] if key not in used and not key.startswith(made)] == []


def test_every_problem_of_the_api_has_words():
    documented = set(re.findall(r"^\| [45]\d\d[^|]*\|", (WEB.parent / "docs" / "api.md").read_text(), re.MULTILINE))
    codes = {code for row in documented for code in re.findall(r"`([a-z-]+)`", row)}
    unseen = {"too-large", "not-json", "bad-json", "if-match-needed", "sign-in-needed"}  # the page never causes them
    assert {code for code in codes - unseen if f"problem.{code}" not in LOCALES["en"]} == set()
