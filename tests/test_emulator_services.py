"""What the OCCS emulator makes of a service's YAML, its templates, its image and its ports, without any process."""

from __future__ import annotations

import socket

import pytest

from rolling_router.errors import SettingError
from rolling_router.occs.emulator import images
from rolling_router.occs.emulator.host_ports import HostPorts, PortTaken, Publishing
from rolling_router.occs.emulator.service_yaml import BadYaml, HealthCheck, Published, parse
from rolling_router.occs.emulator.templates import expand, functions_for
from tests.ports import free_port


def service(*lines, image="me/shop:7"):
    text = "\n".join(["version: 2", "services:", "  app:", f"    image: {image}", *(f"    {line}" for line in lines)])
    return parse(text)["app"]


# YAML


@pytest.mark.parametrize("version", ["2", "'2'", '"2"'])
def test_the_version_may_be_a_number_or_a_text(version):
    assert list(parse(f"version: {version}\nservices: {{a: {{image: x}}, b: {{image: y}}}}")) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3000/tcp", Published(3000)),
        ("3000", Published(3000)),
        ("80:8080/tcp", Published(8080, 80)),
        ("8080:22", Published(22, 8080)),  # in YAML 1.1 a number of base 60
        ("53:53/udp", Published(53, 53, "udp")),
    ],
)
def test_ports_are_read_as_they_are_written(text, expected):
    assert service("ports:", f"  - {text}").ports == (expected,)


@pytest.mark.parametrize("text", ["x", "80:", "0/tcp", "70000", "1:70000", "80:80/icmp", "1:2:3", "[]", "''"])
def test_what_is_no_port_is_refused(text):
    with pytest.raises(BadYaml, match="app"):
        service("ports:", f"  - {text}")


def test_the_environment_is_a_list_or_a_map_and_its_texts_stay_as_they_are():
    lines = ["  - 'occs:availability=per-pool'", "  - OCCS:description=x y", "  - 'constraint:pool_id==default'"]
    lines += ["  - YES=yes", "  - EMPTY=", "  - EQUALS=a=b", "  - TOKEN={{api_token}}", "  - BARE"]
    assert service("environment:", *lines).environment == {
        "YES": "yes",
        "EMPTY": "",
        "EQUALS": "a=b",
        "TOKEN": "{{api_token}}",
        "BARE": "",
    }
    assert service("environment:", "  A: 010", "  B: on").environment == {"A": "010", "B": "on"}


def test_what_means_nothing_here_is_accepted():
    one = service("links: [a]", "volumes: [b]", "container_name: c", "hostname: d", "command: npm start", "restart: no")
    assert one.command == "npm start"
    assert service("command: [npm, start]").command == "npm start"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://:3000/", HealthCheck(3000, "/", 10.0, 30.0)),
        ("http://:3000/a/b?timeout=2s&interval=500ms", HealthCheck(3000, "/a/b", 2.0, 0.5)),
        ("http://:3000/?interval=1m", HealthCheck(3000, "/", 10.0, 60.0)),
    ],
)
def test_a_health_check_is_read(text, expected):
    one = service("ports: [3000/tcp]", f"environment: ['OCCS_HEALTHCHECK_HTTP={text}']")
    assert one.health == expected


@pytest.mark.parametrize("text", ["http://:80/", "tcp://:3000/", "http://:x/", "http://:3000/?timeout=0s", "3000"])
def test_a_health_check_that_cannot_be_meant_is_refused(text):
    with pytest.raises(BadYaml, match="OCCS_HEALTHCHECK_HTTP of the service 'app'"):
        service("ports: [3000/tcp]", f"environment: ['OCCS_HEALTHCHECK_HTTP={text}']")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: [",
        "[]",
        "version: 1\nservices: {a: {image: x}}",
        "version: 2",
        "version: 2\nservices: {}",
        "version: 2\nservices: {a: {}}",
        "version: 2\nservices: {a: x}",
        "version: 2\nservices: {a: {image: [x]}}",
        "version: 2\nservices: {a: {image: x, ports: 3000}}",
        "version: 2\nservices: {a: {image: x, environment: [{b: c}]}}",
        "version: 2\nservices: {a: {image: !!python/object/apply:os.system [id], ports: 1}}",
        "\x00",
        "version: 2\nservices: " + "[" * 5000,
    ],
    ids=lambda text: text[:30],
)
def test_what_is_no_service_is_refused_in_one_line(text):
    with pytest.raises(BadYaml) as wrong:
        parse(text)
    assert "\n" not in str(wrong.value)


# Templates


def expanded(text):
    services = parse("version: 2\nservices: {app: {image: x, ports: ['80:3000/tcp', 4000/tcp]}}")
    return expand(text, functions_for("shop-1", services, "token", "192.0.2.1", lambda port: port + 8000))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("{{api_token}}", "token"),
        ("a{{ api_token }}b{{api_token}}", "atokenbtoken"),
        ('{{sd_deployment_containers_path "app" 3000}}', "apps/app-shop-1-3000/containers"),
        ('{{ sd_deployment_containers_path  "other"  80 }}', "apps/other-shop-1-80/containers"),
        ('{{proxy "app:3000"}}', "192.0.2.1:8080"),
        ("{not one}", "{not one}"),
    ],
)
def test_expressions_are_expanded(text, expected):
    assert expanded(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("{{nothing}}", "{{}}", "{{api_token 1}}", '{{api_token "}}', '{{proxy "app:4000"}}', '{{proxy "b:1"}}'),
        *("{{sd_deployment_containers_path app}}", "{{sd_deployment_containers_path app x}}"),
    ],
)
def test_what_cannot_be_expanded_is_refused(text):
    with pytest.raises(BadYaml):
        expanded(text)


# Images


@pytest.mark.parametrize(
    ("name", "tag"),
    [("a", "latest"), ("a:1", "1"), ("host:5000/a/b", "latest"), ("host:5000/a/b:1.0", "1.0")],
)
def test_the_tag_is_what_follows_the_last_colon_of_the_name(name, tag):
    assert images.tag(name) == tag


@pytest.mark.parametrize(
    ("pattern", "matches", "not_these"),
    [
        ("shop", ["shop", "shop:1", "me/shop:2", "host:5000/me/shop:3"], ["shops", "me/a-shop", "shop/b"]),
        ("shop:1*", ["shop:1", "me/shop:1.5"], ["shop:2", "shop"]),
        ("me/*", ["me/a:1", "host:5000/me/b"], ["you/a"]),
        ("host:5000/me/shop", ["host:5000/me/shop:7"], ["me/shop:7"]),
    ],
)
def test_a_pattern_need_not_name_registry_account_or_tag(pattern, matches, not_these):
    table = images.read([f"{pattern}=run"])[:1]
    assert [name for name in matches if images.find(table, name) is None] == []
    assert [name for name in not_these if images.find(table, name) is not None] == []


def test_the_first_entry_wins_and_the_built_in_ones_come_last():
    table = images.read(["hello-world:9=mine", "hello-world=other"])
    assert images.find(table, "a/hello-world:9").command == ("mine",)
    assert images.find(table, "a/hello-world:1").command == ("other",)
    assert images.find(images.read([]), "a/hello-world:1").argv("a/hello-world:1", "", 1)[-1] == "1"
    assert images.find(images.read([]), "a/goodbye-world:1") is None


def test_a_command_is_filled_in():
    (image, *_) = images.read(["shop=run --port {port} '--of={image} {tag}' {command} {other}"])
    assert image.argv("me/shop:7", "npm 'run it'", 3100) == [
        *("run", "--port", "3100", "--of=me/shop:7 7", "npm", "run it", "{other}")
    ]


@pytest.mark.parametrize("text", ["", "shop", "shop=", "=run", "shop=run '"])
def test_an_image_that_cannot_be_meant_is_refused(text):
    with pytest.raises(SettingError, match="--image is "):
        images.read([text])


# Ports of the machine


def test_fixed_ports_are_where_the_options_say():
    publishing = Publishing.read(["80=18080", "8080=free", "*=+20000"])
    assert [publishing.port(written) for written in (80, 8080, 443)] == [18080, None, 20443]
    assert Publishing.read([]).port(80) == 80
    assert Publishing.read(["*=free"]).port(80) is None


@pytest.mark.parametrize("text", ["80", "80=", "=80", "80=x", "x=80", "0=80", "80=0", "80=70000", "*=8000", "*=+x"])
def test_a_publishing_that_cannot_be_meant_is_refused(text):
    with pytest.raises(SettingError, match="--publish is "):
        Publishing.read([text])


def test_a_port_is_given_to_one_container_at_a_time():
    ports = HostPorts("127.0.0.1", Publishing())
    taken = free_port()  # one that the system gives to nobody, once it is free again
    told = f"port {taken} of 127.0.0.1 cannot be had"
    with socket.create_server(("127.0.0.1", taken)), pytest.raises(PortTaken, match=told):
        ports.take([Published(1), Published(2, taken)])
    first = ports.take([Published(1), Published(2, taken)])
    assert first[2] == taken
    with pytest.raises(PortTaken, match="another container"):
        ports.take([Published(2, taken)])
    ports.release(first)
    assert ports.take([Published(2, taken)]) == {2: taken}
    many = [ports.take([Published(1)])[1] for _ in range(200)]
    assert len(set(many)) == 200


def test_no_two_emulators_give_the_same_port_though_nobody_listens_there_yet():
    two = [HostPorts("127.0.0.1", Publishing()) for _ in range(2)]
    given = [ports.take([Published(1)])[1] for ports in two for _ in range(1000)]
    assert len(set(given)) == 2000
    one = two[0]
    for port in given[:1000]:
        one.release({1: port})
    assert {one.take([Published(1)])[1] for _ in range(1000)} & set(given[1000:]) == set()
