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
from twisted.internet.utils import getProcessOutputAndValue
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
    port = reactor.listenSSL(0, world.site, _certificate(tmp_path), interface="127.0.0.1")
    world.ports.append(port)
    url = f"https://127.0.0.1:{port.getHost().port}/two"
    arguments = ["-sS", "-k", "--http2", "-o", "-", "-w", " %{http_version} %{response_code}", "-d", "hello", url]
    out, err, status = await getProcessOutputAndValue(shutil.which("curl"), arguments)
    assert (out, err, status) == (b"hello 2 200", b"", 0)


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
