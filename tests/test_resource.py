"""The router as a resource in a Site of twisted.web, over real ports: HTTP/1.1, and HTTP/2 by curl."""

import datetime
import ipaddress
import shutil

import pytest
import pytest_twisted
import treq
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.web.client import HTTPConnectionPool
from twisted.web.resource import Resource
from twisted.web.server import Site

from rolling_router.observe.counts import Counts
from rolling_router.observe.score import Score
from rolling_router.proxy.deadlines import Deadlines
from rolling_router.proxy.dispatch import Dispatch
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.resource import RouterResource
from rolling_router.registry import make_strategy
from rolling_router.rollout.model import Instance, Snapshot, Version
from rolling_router.routing.router import Router


class Echo(Resource):
    """An instance: says its version, and what it was sent."""

    isLeaf = True

    def __init__(self, version: str) -> None:
        super().__init__()
        self.version = version

    def render(self, request):
        request.setHeader(b"X-Version", self.version.encode())
        request.setHeader(b"X-Saw", b"%b %b" % (request.method, request.uri))
        request.setHeader(b"X-Forwarded", request.getHeader(b"x-forwarded-for") or b"")
        request.setHeader(b"X-Cookies", b" | ".join(request.requestHeaders.getRawHeaders(b"cookie", [])))
        request.setHeader(b"X-Via", request.getHeader(b"via") or b"")
        body = request.content.read() or b"empty"
        return b"" if request.method == b"HEAD" else body


class World:
    """Two versions, the router's resource before them, and what ends them all."""

    def __init__(self) -> None:
        self.ports = []
        stable, candidate = self._instance("1"), self._instance("2")
        strategies = dict([make_strategy("cookie", "shop")])
        self.router = Router("shop", strategies)
        self.deadlines = Deadlines(reactor)
        self.deadlines.startService()
        counts = Counts("shop")
        self.counts = counts
        self.dispatch = Dispatch(reactor, self.router, Limits(), self.deadlines, Score(counts, None))
        self.stable = Version("shop-1", 3000, (stable,))
        self.candidate = Version("shop-2", 3000, (candidate,))
        self.site = Site(RouterResource(self.dispatch))
        self.port = self._listen(self.site)
        self.pool = HTTPConnectionPool(reactor, persistent=False)

    def blend(self, percent: int, stickiness: str | None = None) -> None:
        self.dispatch.follow(Snapshot("shop", self.stable, self.candidate, percent, stickiness))

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def ask(self, method: str, path: str = "/", **more):
        return await treq.request(method, self.url(path), pool=self.pool, **more)

    def _listen(self, site: Site) -> int:
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.ports.append(port)
        return port.getHost().port

    def _instance(self, version: str) -> Instance:
        return Instance("127.0.0.1", self._listen(Site(Echo(version))))

    async def end(self) -> None:
        self.dispatch.close()
        self.deadlines.stopService()
        for port in self.ports:
            await port.stopListening()


@pytest.fixture
def world():
    world = World()
    yield world
    pytest_twisted.blockon(Deferred.fromCoroutine(world.end()))
    assert all(load.outstanding == 0 for load in world.router.loads)


@pytest_twisted.ensureDeferred
async def test_requests_are_split_exactly(world):
    world.blend(25)
    versions = []
    for _ in range(20):
        answer = await world.ask("GET", "/a?b=%20c")
        assert (answer.code, await answer.content()) == (200, b"empty")
        assert answer.headers.getRawHeaders("X-Saw") == ["GET /a?b=%20c"]
        versions += answer.headers.getRawHeaders("X-Version")
    assert versions.count("2") == 5
    assert world.counts.served() == {"stable": 15, "candidate": 5, "none": 0}


@pytest_twisted.ensureDeferred
async def test_a_name_for_via_is_added_and_ends_a_loop(world):
    world.blend(0)
    url = f"http://127.0.0.1:{world._listen(Site(RouterResource(world.dispatch, via=b'edge')))}/"
    answer = await treq.get(url, pool=world.pool)
    assert answer.headers.getRawHeaders("X-Via") == ["1.1 edge"]
    answer = await treq.get(url, headers={"Via": "1.1 edge"}, pool=world.pool)
    assert answer.code == 508


@pytest_twisted.ensureDeferred
async def test_a_body_of_many_pieces_arrives_whole(world):
    world.blend(0)
    sent = bytes(range(256)) * 4096
    answer = await world.ask("POST", data=sent)
    assert await answer.content() == sent
    assert answer.headers.getRawHeaders("X-Forwarded") == ["127.0.0.1"]


@pytest_twisted.ensureDeferred
async def test_a_head_request_has_no_body_and_an_empty_post_is_passed_on(world):
    world.blend(0)
    answer = await world.ask("HEAD")
    assert (answer.code, await answer.content()) == (200, b"")
    answer = await world.ask("POST", data=b"")
    assert await answer.content() == b"empty"


@pytest_twisted.ensureDeferred
async def test_a_client_is_told_its_pin_and_kept(world):
    world.blend(50, "cookie")
    first = await world.ask("GET")
    (cookie,) = first.headers.getRawHeaders("Set-Cookie")
    version = first.headers.getRawHeaders("X-Version")
    assert first.headers.getRawHeaders("Cache-Control") == ["private"]
    for _ in range(4):
        again = await world.ask("GET", headers={"Cookie": cookie.partition(";")[0]})
        assert again.headers.getRawHeaders("X-Version") == version
        assert again.headers.getRawHeaders("Set-Cookie") is None


@pytest_twisted.ensureDeferred
async def test_nobody_to_serve_is_said_with_retry_after(world):
    answer = await world.ask("GET")
    assert answer.code == 503
    assert answer.headers.getRawHeaders("Retry-After") == ["5"]
    assert "not set up" in await answer.text()


@pytest_twisted.ensureDeferred
async def test_http_2_is_served_over_tls(world, tmp_path):
    assert shutil.which("curl"), "curl is needed; see .ci/needs"
    world.blend(100)
    site = Site(RouterResource(world.dispatch, via=b"edge"))
    port = reactor.listenSSL(0, site, _certificate(tmp_path), interface="127.0.0.1")
    world.ports.append(port)
    url = f"https://127.0.0.1:{port.getHost().port}/two"
    told = " %{http_version} %{response_code} %header{x-via} %header{x-cookies}"
    arguments = ["-sS", "-k", "--http2", "-o", "-", "-w", told, "-d", "hello", url]
    arguments += ["-H", "Cookie: a=1", "-H", "Cookie: b=2"]  # as browsers send several, for the sake of compression
    out, err, status = await getProcessOutputAndValue(shutil.which("curl"), arguments)
    assert (out, err, status) == (b"hello 2 200 2.0 edge a=1; b=2", b"", 0)


SECOND = b"\r\nHost: shop.example\r\nContent-Length: 50\r\n\r\nX"


@pytest.mark.parametrize(
    ("method", "uri", "name", "value"),
    [
        (b"GET", b"/ HTTP/1.1" + SECOND, b"a", b"b"),
        (b"GET", b"/ HTTP/1.1\r\nHost: shop.example\r\n\r\nGET /admin", b"a", b"b"),
        (b"GET", b"/a b", b"a", b"b"),
        (b"GET", b"/a\0", b"a", b"b"),
        (b"GET", b"", b"a", b"b"),
        (b"GET /x HTTP/1.1\r\nA:", b"/", b"a", b"b"),
        (b"GET", b"/", b"a", b"b\r\nContent-Length: 50"),
        (b"GET", b"/", b"a", b"b\nContent-Length: 50"),
        (b"GET", b"/", b"a", b"b\rc"),
        (b"GET", b"/", b"a", b"b\0"),
        (b"GET", b"/", b"a\r\nContent-Length: 50\r\nb", b"c"),
        (b"GET", b"/", b"a b", b"c"),
        (b"GET", b"/", b"Content-Length:", b"50"),
    ],
)
def test_a_request_that_would_be_another_one_in_http_1_1_is_refused(world, method, uri, name, value):
    """As HTTP/2 can bring it, and twisted.web passes it on: h2 refuses it since 4.3."""
    world.blend(0)
    transport = StringTransport()
    channel = world.site.buildProtocol(None)
    channel.makeConnection(transport)
    request = world.site.requestFactory(channel._channel)
    channel._channel.requests.append(request)
    request.requestHeaders.addRawHeader(b"Host", b"shop.example")
    request.requestHeaders._rawHeaders[name] = [b"first", value]
    request.gotLength(0)
    request.requestReceived(method, uri, b"HTTP/1.1")
    assert transport.value().startswith(b"HTTP/1.1 400 Bad Request\r\n"), transport.value()
    assert all(load.outstanding == 0 for load in world.router.loads)
    channel.connectionLost(Failure(ConnectionDone()))


def _certificate(folder) -> ssl.CertificateOptions:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    return ssl.PrivateCertificate.loadPEM(pem).options()
