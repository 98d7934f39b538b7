"""Who sends more than the other side takes is held back until it does: bodies are never collected."""

from __future__ import annotations

from rolling_router.proxy.sending import unsent_bytes
from tests.fakes import answer, get, post

PIECE = b"x" * 50_000
MOST = 200_000  # what one connection may have queued: a buffer's mark, and the reads that were on their way


def fill(sender, receiver, pieces):
    """Send until the router reads no more; says how many pieces it took."""
    receiver.make_room(0)
    for count in range(pieces):
        if not sender.line.is_reading:
            return count
        sender.send(PIECE)
    return pieces


def test_a_client_is_held_back_while_the_instance_takes_nothing(house):
    client = house.client(post(b"", length=1000 * len(PIECE)))
    instance = house.accept()
    assert fill(client, instance, 1000) < 10
    assert unsent_bytes(instance.line) < MOST
    for _ in range(20):  # however often there is a little room
        instance.make_room(30_000)
        while client.line.is_reading:
            client.send(PIECE)
        assert unsent_bytes(instance.line) < MOST


def test_a_client_goes_on_when_the_instance_takes_everything(house):
    client = house.client(post(b"", length=20 * len(PIECE)))
    instance = house.accept()
    taken = fill(client, instance, 20)
    instance.make_room(None)
    assert client.line.is_reading
    client.send(*[PIECE] * (20 - taken))
    assert instance.take().count(b"x") == 20 * len(PIECE)
    instance.send(answer())
    assert client.take() == answer()


def test_an_instance_is_held_back_while_the_client_takes_nothing(house):
    client = house.client(get())
    instance = house.accept()
    instance.send(answer(PIECE * 1000)[:100])
    assert fill(instance, client, 1000) < 10
    assert unsent_bytes(client.line) < MOST
    for _ in range(20):
        client.make_room(30_000)
        while instance.line.is_reading:
            instance.send(PIECE)
        assert unsent_bytes(client.line) < MOST


def test_an_instance_goes_on_when_the_client_takes_everything(house):
    client = house.client(get())
    instance = house.accept()
    instance.send(answer(PIECE * 20)[: -20 * len(PIECE)])
    taken = fill(instance, client, 20)
    client.make_room(None)
    assert instance.line.is_reading
    instance.send(*[PIECE] * (20 - taken))
    assert client.take() == answer(PIECE * 20)
    assert house.outstanding() == 0


def test_both_ways_at_once(house):
    client = house.client(get(b"/", b"Transfer-Encoding: chunked", method=b"POST"))
    instance = house.accept()
    instance.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"%x\r\n%b\r\n" % (len(PIECE), PIECE)
    instance.make_room(0)
    client.make_room(0)
    for _ in range(100):
        for end in (client, instance):
            if end.line.is_reading:
                end.send(chunk)
    assert not client.line.is_reading
    assert not instance.line.is_reading
    assert unsent_bytes(client.line) < MOST
    assert unsent_bytes(instance.line) < MOST
    client.make_room(None)  # that the client takes its answer does not make the instance take the request
    for _ in range(100):
        if client.line.is_reading:
            client.send(chunk)
    assert unsent_bytes(instance.line) < MOST


def test_a_client_that_takes_no_answers_gets_no_more_of_its_requests_served(house):
    client = house.client()
    client.make_room(0)
    client.send(get())
    instance = house.accept()
    for _ in range(50):
        if house.outstanding():
            instance.send(answer(PIECE))
        if client.line.is_reading:
            client.send(get() * 10)
    assert unsent_bytes(client.line) < MOST
    assert not client.line.is_reading
    assert house.outstanding() == 0
    served = len(house.score.over)
    client.make_room(None)
    assert house.outstanding() == 1, "and goes on when it does"
    assert client.take() == answer(PIECE) * served
    while house.outstanding():
        instance.send(answer(PIECE))
    assert client.take() == answer(PIECE) * (len(house.score.over) - served)


def test_a_client_whose_connection_is_being_made_is_held_back(house):
    client = house.client(post(b"", length=1000 * len(PIECE)))
    for _ in range(1000):
        if client.line.is_reading:
            client.send(PIECE)
    assert sum(map(len, client.line.protocol.exchange.pending)) <= len(PIECE)
    assert len(house.accept().take()) > len(PIECE)
    assert client.line.is_reading


def test_a_connection_with_a_request_still_queued_is_not_used_again(house):
    client = house.client(post(b"", length=4 * len(PIECE)))
    instance = house.accept()
    instance.make_room(0)
    client.send(PIECE, PIECE)
    while not client.line.is_reading:
        instance.make_room(1000)
    client.send(PIECE, PIECE)
    instance.send(answer())
    house.client(get())
    assert house.connecting == ["10.0.2.1"]
    instance.make_room(None)
