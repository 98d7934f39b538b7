"""observe.access_log and log_file: honest lines, in a file that may be rotated, deleted or full at any time."""

from __future__ import annotations

import json
import os
import re
import stat

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher

from rolling_router.errors import SettingError
from rolling_router.observe import log_file
from rolling_router.observe.access_log import AccessLog, AccessLogService, Entry, make_access_log, masked
from rolling_router.observe.log_file import FLUSH_AT, MOST_KEPT, LogFile

# 2026-11-23 10:15:00.250 UTC, the end of every request here
NOW = 1795428900.25

CLF = re.compile(
    rb"(?P<host>\S+) (?P<ident>\S+) (?P<user>\S+) \[(?P<time>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    rb'"(?P<request>[^"]*)" (?P<status>\d{3}) (?P<size>\d+|-)\n'
)

HOSTILE = b'\x00\x1b[31m"\\\r\n\x7f\x85\xff\xe2\x80\xa8 - - [x] "GET / HTTP/1.1" 200 1\n{"status":200}'


def request(**more):
    usual = {
        "request_id": b"r-1",
        "client": "203.0.113.77",
        "method": b"GET",
        "target": b"/shop?page=2",
        "protocol": b"HTTP/1.1",
        "host": b"shop.example",
        "status": 200,
        "bytes_out": 612,
        "version": "web-2",
        "role": "candidate",
        "instance": "10.0.0.2:80",
        "reason": "new",
        "asked": "candidate",
        "seconds": 0.125,
        "upstream_seconds": 0.1,
        "user_agent": b"curl/8.5.0",
        "referer": b"https://shop.example/?q=1",
    }
    return Entry(**usual | more)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "access.log"


@pytest.fixture
def said():
    """What was said in the program's own log, as pairs of level and text."""
    events = []

    def observe(event):
        if event["log_namespace"] == log_file.__name__:
            events.append((event["log_level"], event["log_format"].format(**event)))

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


def written(path, form, *entries, **options):
    log = AccessLog(LogFile(str(path)), form, lambda: NOW, **options)
    for entry in entries:
        log.write(entry)
    log.file.close()
    return path.read_bytes()


def json_of(path, **more):
    return json.loads(written(path, "json", request(**more)))


# Forms


def test_a_common_line_is_the_common_log_format(path):
    assert written(path, "common", request()) == (
        b'203.0.113.0 - - [23/Nov/2026:10:15:00 +0000] "GET /shop?page=2 HTTP/1.1" 200 612\n'
    )


def test_a_common_line_holds_no_blank_where_nothing_is_known(path):
    line = written(path, "common", Entry(status=400, reason="bad-request"))
    assert line == b'- - - [23/Nov/2026:10:15:00 +0000] "-" 400 -\n'


def test_a_client_that_left_before_an_answer_has_499_in_the_common_form(path):
    assert b'" 499 -' in written(path, "common", request(status=0, bytes_out=0, cut=True))


def test_a_json_line_says_everything(path):
    assert json_of(path) == {
        "time": "2026-11-23T10:15:00.125Z",
        "request_id": "r-1",
        "client": "203.0.113.0",
        "method": "GET",
        "target": "/shop?page=2",
        "protocol": "HTTP/1.1",
        "host": "shop.example",
        "status": 200,
        "bytes_in": 0,
        "bytes_out": 612,
        "version": "web-2",
        "role": "candidate",
        "instance": "10.0.0.2:80",
        "reason": "new",
        "asked": "candidate",
        "retries": 0,
        "seconds": 0.125,
        "upstream_seconds": 0.1,
        "user_agent": "curl/8.5.0",
        "referer": "https://shop.example/?q=1",
        "cut": False,
    }


def test_what_is_not_known_is_null_in_json(path):
    line = json.loads(written(path, "json", Entry(reason="bad-request")))
    unknown = {key for key, value in line.items() if value is None}
    assert unknown == {
        "request_id", "client", "method", "target", "protocol", "host", "status",
        "version", "instance", "asked", "upstream_seconds", "user_agent", "referer",
    }  # fmt: skip


def test_the_time_is_the_requests_beginning_in_both_forms(path, tmp_path):
    assert b"[23/Nov/2026:10:14:59 +0000]" in written(path, "common", request(seconds=0.5))
    assert json_of(tmp_path / "b.log", seconds=0.5)["time"] == "2026-11-23T10:14:59.750Z"


def test_utf8_comes_back_from_json(path):
    assert json_of(path, target="/Grüße".encode())["target"] == "/Grüße"


# Hostile clients

FIELDS = ["request_id", "method", "target", "protocol", "host", "user_agent", "referer"]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("form", ["common", "json"])
def test_no_client_can_forge_a_line(path, form, field):
    text = written(path, form, request(**{field: HOSTILE}), request())
    assert text.count(b"\n") == 2
    assert not re.search(rb"[^ -~\n]", text)


@pytest.mark.parametrize("field", FIELDS)
def test_a_hostile_field_leaves_every_other_field_of_json_alone(path, tmp_path, field):
    hostile = json_of(path, **{field: HOSTILE})
    usual = json_of(tmp_path / "usual.log")
    assert {key for key in usual if usual[key] != hostile[key]} == {field}
    assert len(hostile) == len(usual)


def test_every_byte_leaves_the_common_form_readable(path):
    entries = [request(target=b"/" + bytes([byte]), method=bytes([byte])) for byte in range(256)]
    lines = written(path, "common", *entries).splitlines(keepends=True)
    assert len(lines) == 256
    for line in map(CLF.fullmatch, lines):
        assert line["request"].count(b" ") == 2
        assert (line["status"], line["size"]) == (b"200", b"612")


def test_a_byte_that_is_no_utf8_is_shown(path):
    assert json_of(path, user_agent=b"a\xffb")["user_agent"] == "a\\xffb"


def test_a_hostile_address_is_escaped_even_when_addresses_are_whole(path):
    line = written(path, "common", request(client='1.2.3.4 "\n\ud800'), mask_addresses=False)
    assert CLF.fullmatch(line)


def test_a_long_field_is_shortened(path):
    assert len(json_of(path, target=b"/" * 100_000)["target"]) == 8192


# Privacy


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("2001:db8:1234:5678:9abc:def0:1234:5678", "2001:db8:1234::"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::"),
        ("", ""),
        ("unknown", ""),
    ],
)
def test_only_the_network_of_an_address_is_kept(address, kept):
    assert masked(address) == kept


def test_whole_addresses_are_written_if_asked_for(path):
    assert written(path, "common", request(), mask_addresses=False).startswith(b"203.0.113.77 ")


def test_the_query_can_be_left_out_of_target_and_referer(path):
    line = json.loads(written(path, "json", request(), keep_query=False))
    assert (line["target"], line["referer"]) == ("/shop", "https://shop.example/")


@pytest.mark.parametrize("form", ["common", "json"])
@pytest.mark.parametrize("letter", [b"x", b"\x01", b"\xff"])
def test_a_line_on_standard_output_goes_into_a_pipe_in_one_piece(form, letter):
    log = make_access_log(form, "-", lambda: NOW)
    long = dict.fromkeys(("method", "target", "host", "user_agent", "referer", "request_id"), letter * 9000)
    for entry in (request(**long), request(target=b"/" + b"x" * 7000)):
        log.write(entry)
        line = bytes(log.file._kept)
        log.file._kept.clear()
        assert 500 < len(line) <= 4096
        assert line.count(b"\n") == 1
        assert CLF.fullmatch(line) if form == "common" else json.loads(line)["status"] == 200


def test_a_password_in_a_url_is_never_written(path):
    line = json_of(path, target=b"http://me:secret@shop.example/a@b", referer=b"https://me:s%40cret@shop.example")
    assert (line["target"], line["referer"]) == ("http://shop.example/a@b", "https://shop.example")


def test_an_at_sign_in_a_path_is_no_password(path):
    assert json_of(path, target=b"/a://b@c")["target"] == "/a://b@c"


# The file


def test_the_file_is_made_for_its_owner_and_group(path):
    before = os.umask(0)
    try:
        written(path, "common", request())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_an_existing_file_is_continued(path):
    path.write_bytes(b"before\n")
    file = LogFile(str(path))
    file.append(b"after\n")
    file.close()
    assert path.read_bytes() == b"before\nafter\n"


def test_lines_wait_for_the_tick(path):
    file = LogFile(str(path))
    file.open()
    file.append(b"one\n")
    assert path.read_bytes() == b""
    file.flush()
    assert path.read_bytes() == b"one\n"
    file.close()


def test_many_lines_do_not_wait(path):
    file = LogFile(str(path))
    file.open()
    file.append(b"x" * FLUSH_AT + b"\n")
    assert path.stat().st_size == FLUSH_AT + 1
    file.close()


def test_a_renamed_file_is_followed_by_a_new_one(path, tmp_path):
    file = LogFile(str(path))
    file.append(b"one\n")
    file.flush()
    path.rename(tmp_path / "access.log.1")
    file.append(b"two\n")
    file.flush()
    file.append(b"three\n")
    file.close()
    assert (tmp_path / "access.log.1").read_bytes() == b"one\n"
    assert path.read_bytes() == b"two\nthree\n"


def test_a_rotation_that_makes_the_new_file_itself_is_followed_too(path, tmp_path):
    file = LogFile(str(path))
    file.append(b"one\n")
    file.flush()
    path.rename(tmp_path / "access.log.1")
    path.write_bytes(b"")
    file.append(b"two\n")
    file.close()
    assert path.read_bytes() == b"two\n"


def test_a_deleted_file_is_made_again(path):
    file = LogFile(str(path))
    file.append(b"one\n")
    file.flush()
    path.unlink()
    file.append(b"two\n")
    file.close()
    assert path.read_bytes() == b"two\n"


def test_a_truncated_file_is_written_from_its_beginning(path):
    file = LogFile(str(path))
    file.append(b"one\n")
    file.flush()
    os.truncate(path, 0)
    file.append(b"two\n")
    file.close()
    assert path.read_bytes() == b"two\n"


def test_a_rotation_is_followed_in_silence_too_so_that_the_old_file_is_let_go(path, tmp_path):
    file = LogFile(str(path))
    file.open()
    path.rename(tmp_path / "access.log.1")
    file.flush()
    assert path.exists()
    file.close()


def test_reopening_writes_what_waits_to_the_old_file(path, tmp_path):
    file = LogFile(str(path))
    file.open()
    file.append(b"one\n")
    path.rename(tmp_path / "access.log.1")
    file.reopen()
    file.append(b"two\n")
    file.close()
    assert (tmp_path / "access.log.1").read_bytes() == b"one\n"
    assert path.read_bytes() == b"two\n"


def test_rotation_leaks_no_descriptor(path, tmp_path):
    file = LogFile(str(path))
    file.open()
    before = len(os.listdir("/proc/self/fd"))
    for number in range(5):
        path.rename(tmp_path / f"access.log.{number}")
        file.flush()
        file.reopen()
    assert len(os.listdir("/proc/self/fd")) == before
    file.close()


# When it cannot be written


def test_a_path_that_cannot_be_opened_is_refused_at_the_start(tmp_path):
    with pytest.raises(SettingError, match=r"nowhere/access.log' cannot be written \(No such file"):
        LogFile(str(tmp_path / "nowhere" / "access.log")).open()


def test_lines_are_kept_while_the_directory_is_away(tmp_path, said):
    file = LogFile(str(tmp_path / "logs" / "access.log"))
    for number in range(3):
        file.append(b"%d\n" % number)
        file.flush()
    assert [level for level, _ in said] == [LogLevel.error]
    (tmp_path / "logs").mkdir()
    file.flush()
    assert (tmp_path / "logs" / "access.log").read_bytes() == b"0\n1\n2\n"
    assert [level for level, _ in said] == [LogLevel.error, LogLevel.info]
    assert file.dropped == 0
    file.close()


def test_on_a_full_disk_lines_are_dropped_and_counted_and_said_once(said):
    file = LogFile("/dev/full")
    file.open()
    line = b"x" * 1023 + b"\n"
    for _ in range(MOST_KEPT // len(line) + 5):
        file.append(line)
    file.flush()
    assert file.dropped == 5
    assert len(said) == 1
    assert "/dev/full" in said[0][1]
    assert "No space left on device" in said[0][1]


def test_a_pipe_that_nobody_empties_costs_lines_but_never_waits(path, said):
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LogFile(str(path))
    file.open()
    line = b"x" * 1023 + b"\n"
    for _ in range(2 * MOST_KEPT // len(line)):
        file.append(line)
    assert file.dropped > 0
    assert [level for level, _ in said] == [LogLevel.error]
    # Once it is read, what was kept comes, and every line is whole.
    received = b""
    while piece := read_now(reader):
        received += piece
        file.flush()
    assert set(received.splitlines(keepends=True)) == {line}
    assert received.count(b"\n") + file.dropped == 2 * MOST_KEPT // len(line)
    assert [level for level, _ in said] == [LogLevel.error, LogLevel.info]
    file.close()
    os.close(reader)


def read_now(descriptor):
    try:
        return os.read(descriptor, MOST_KEPT)
    except BlockingIOError:
        return b""


def test_a_line_that_was_torn_by_a_full_pipe_does_not_go_on_in_the_next_file(path, tmp_path):
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LogFile(str(path))
    file.open()
    file.append(b"x" * (2 * FLUSH_AT) + b"\n")  # twice what a pipe takes
    path.rename(tmp_path / "old")
    file.append(b"whole\n")
    file.flush()
    assert path.read_bytes() == b"whole\n"
    assert file.dropped == 1
    file.close()
    os.close(reader)


# Standard output


def test_a_hyphen_is_standard_output(capfd):
    file = LogFile("-")
    file.open()
    file.append(b"one\n")
    file.flush()
    file.reopen()
    file.append(b"two\n")
    file.close()
    assert capfd.readouterr().out == "one\ntwo\n"
    os.fstat(1)  # still open


def test_a_full_standard_output_never_waits(capfd):
    reader, writer = os.pipe()
    before = os.dup(1)
    os.dup2(writer, 1)
    try:
        file = LogFile("-")
        file.open()
        for _ in range(3000):
            file.append(b"x" * 99 + b"\n")
        file.flush()
        received = os.read(reader, MOST_KEPT)
    finally:
        os.dup2(before, 1)
        for descriptor in (reader, writer, before):
            os.close(descriptor)
    assert received.endswith(b"\n")  # whole lines only, so those of other processes do not mix with ours
    assert 0 < len(received) < 300_000


# Composition


def test_no_log_is_made_when_it_is_off(path):
    assert make_access_log("off", str(path), lambda: NOW) is None


def test_an_unknown_form_is_refused_with_a_reason(path):
    with pytest.raises(SettingError, match="form is 'apache'; it must be one of off, common, json"):
        make_access_log("apache", str(path), lambda: NOW)


def test_the_service_writes_every_second_and_what_is_left_at_the_end(path):
    clock = Clock()
    log = make_access_log("json", str(path), clock.seconds)
    service = AccessLogService(clock, log)
    service.startService()
    log.write(request())
    assert path.read_bytes() == b""
    clock.advance(1.0)
    assert path.read_bytes().count(b"\n") == 1
    log.write(request())
    service.stopService()
    assert path.read_bytes().count(b"\n") == 2
    assert clock.getDelayedCalls() == []


def test_the_service_does_not_start_with_a_wrong_path(tmp_path):
    clock = Clock()
    log = make_access_log("json", str(tmp_path / "nowhere" / "access.log"), clock.seconds)
    with pytest.raises(SettingError):
        AccessLogService(clock, log).startService()
    assert clock.getDelayedCalls() == []
