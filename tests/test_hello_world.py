"""The demo's application over a real port; its endless answers on a clock turned by hand."""

import hashlib

import pytest
import pytest_twisted
import treq
from twisted.internet import reactor
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent, HTTPConnectionPool
from websockets.sync.client import connect

from examples.hello_world.app import SESSION_COOKIE, Visits, make_site


@pytest.fixture
def clock():
    return Clock()


@pytest_twisted.async_yield_fixture
async def address(clock):
    """Where the application answers, as ``host:port``."""
    port = reactor.listenTCP(0, make_site(clock, "1.0.0", "yellow"), interface="127.0.0.1")
    yield f"127.0.0.1:{port.getHost().port}"
    await port.stopListening()


@pytest_twisted.async_yield_fixture
async def client():
    pool = HTTPConnectionPool(reactor)
    yield treq.client.HTTPClient(Agent(reactor, pool=pool))
    await pool.closeCachedConnections()


@pytest_twisted.ensureDeferred
async def test_the_page_shows_its_version_on_its_colour(address, client):
    answer = await client.get(f"http://{address}/")
    page = await answer.text()
    assert answer.code == 200
    assert "Running Hello World v. 1.0.0" in page
    assert "background: yellow" in page


@pytest_twisted.ensureDeferred
async def test_visits_are_counted_by_session(address, client):
    first = await client.get(f"http://{address}/")
    session = first.cookies()[SESSION_COOKIE.decode()]
    again = await client.get(f"http://{address}/", cookies={SESSION_COOKIE.decode(): session})
    stranger = await client.get(f"http://{address}/", headers={"cookie": "hello_session=made-up"})
    assert "session: 1<" in await first.text()
    assert "session: 2<" in await again.text()
    assert "session: 1<" in await stranger.text()
    assert not again.headers.hasHeader("set-cookie")


def test_the_oldest_sessions_are_forgotten():
    visits = Visits(kept=2)
    names = [visits.count(None)[0] for _ in range(3)]
    assert visits.count(names[0])[1] == 1
    assert visits.count(names[2]) == (names[2], 2)


@pytest_twisted.ensureDeferred
async def test_a_slow_answer_comes_when_its_time_has_passed(address, client, clock):
    asked = client.get(f"http://{address}/slow?seconds=5")
    await _until_something_waits(clock)
    clock.advance(4.9)
    assert clock.getDelayedCalls()
    clock.advance(0.1)
    assert await (await asked).text() == "5 seconds later\n"


@pytest_twisted.ensureDeferred
async def test_a_time_that_is_no_number_is_refused(address, client):
    answer = await client.get(f"http://{address}/slow?seconds=soon")
    assert (answer.code, await answer.text()) == (400, "seconds must be a whole number from 0 to 600\n")


@pytest_twisted.ensureDeferred
async def test_events_come_one_a_second_each_sent_at_once(address, client, clock):
    pieces = []
    answer = await client.get(f"http://{address}/events?count=2", unbuffered=True)
    collecting = treq.collect(answer, pieces.append)
    await _until_something_waits(clock)
    await _until(lambda: pieces)
    assert b"".join(pieces) == b"id: 1\ndata: 1 from 1.0.0\n\n"
    clock.advance(1.0)
    await collecting
    assert b"".join(pieces).endswith(b"id: 2\ndata: 2 from 1.0.0\n\n")
    assert answer.headers.getRawHeaders("content-type") == ["text/event-stream"]


@pytest_twisted.ensureDeferred
async def test_events_end_when_the_client_leaves(address, clock):
    connection = await connectProtocol(clientFromString(reactor, f"tcp:{address}"), Protocol())
    connection.transport.write(b"GET /events HTTP/1.1\r\nHost: demo\r\n\r\n")
    await _until_something_waits(clock)
    connection.transport.abortConnection()
    await _until(lambda: not clock.getDelayedCalls())


@pytest.mark.parametrize("length", [0, 1, 65536, 3_000_001])
@pytest_twisted.ensureDeferred
async def test_bytes_have_the_length_that_was_asked_for(address, client, length):
    answer = await client.get(f"http://{address}/bytes?n={length}")
    assert answer.length == length
    assert len(await answer.content()) == length


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest_twisted.ensureDeferred
async def test_echo_returns_the_body_and_its_digest(address, client, method):
    body = bytes(range(256)) * 2000  # more than twisted.web keeps in memory
    answer = await client.request(method, f"http://{address}/echo", data=body)
    assert await answer.content() == body
    assert answer.headers.getRawHeaders("x-sha256") == [hashlib.sha256(body).hexdigest()]


@pytest_twisted.ensureDeferred
async def test_the_web_socket_echoes_text_and_bytes(address):
    def talk():
        with connect(f"ws://{address}/ws", open_timeout=30, close_timeout=30) as socket:
            socket.send("hello")
            socket.send(b"\x00" * 70_000)
            return socket.recv(timeout=30), socket.recv(timeout=30)

    assert await deferToThread(talk) == ("hello", b"\x00" * 70_000)


async def _until_something_waits(clock):
    await _until(clock.getDelayedCalls)


async def _until(true, seconds=30.0):
    """Give the reactor turns until `true()` holds."""
    deadline = reactor.seconds() + seconds
    while not true():
        assert reactor.seconds() < deadline, "it did not happen in time"
        await deferLater(reactor, 0.01)
