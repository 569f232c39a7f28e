"""URLs of brokers, right and wrong."""

import pytest
from kombu import Connection  # type: ignore[attr-defined]  # kombu's types are unfinished

from fleet.spec.urls import Endpoint, check_given, parse

GOOD = {
    "redis://10.0.0.5": Endpoint("redis", "10.0.0.5", 6379, path="0"),
    "redis://:s%2Fx@redis.example.com:6390/3": Endpoint("redis", "redis.example.com", 6390, "", "s/x", "3"),
    "rediss://shop:p%40ss@[fd00::5]/0?ssl_cert_reqs=none": Endpoint(
        "rediss", "fd00::5", 6379, "shop", "p@ss", "0", {"ssl_cert_reqs": "none"}
    ),
}
RABBITMQ: dict[str, Endpoint] = {
    "amqp://10.0.0.5": Endpoint("amqp", "10.0.0.5", 5672, path="/"),
    "amqp://shop:s%2Fx@mq.example.com//": Endpoint("amqp", "mq.example.com", 5672, "shop", "s/x", "/"),
    "amqps://shop:x@mq.example.com/eu%2Fshop?ssl_ca_certs=ca.pem": Endpoint(
        "amqps", "mq.example.com", 5671, "shop", "x", "eu/shop", {"ssl_ca_certs": "ca.pem"}
    ),
}
SENTINELS = "sentinel://:s%2Fx@10.0.0.5:26379/2;sentinel://10.0.0.6;sentinel://10.0.0.7:26380/2"
BAD = {
    "10.0.0.5:6379": "is no URL; write redis://",
    "valkey://10.0.0.5": "no scheme of Celery's; Valkey is reached by redis://",
    "valkeys://10.0.0.5": "Valkey is reached by rediss://",
    "sqs://": "sqs:// is no broker that a fleet can use",
    "redis://": "has no address",
    "redis://:secret@/0": "has no address",
    "redis://:sec/ret@10.0.0.5/0": "is no URL",
    "redis://10.0.0.5:port/0": "is no URL",
    "amqp://shop:secret@/shop": "has no address; write amqp://USER:PASSWORD@ADDRESS:5672/VHOST",
    "amqp://shop:sec/ret@10.0.0.5/0": "is no URL",
    "amqp://shop:12/secret@10.0.0.5/0": "is no URL",
    "redis://shop:12?secret@10.0.0.5/0": "is no URL",
    "amqp://sh/op:secret@10.0.0.5/0": "is no URL",
    "redis://10.0.0.5/shop": "has the database shop; write its number",
    "amqps://mq.example.com/shop?ssl_cert_reqs=of": "has ssl_cert_reqs=of; write required or none",
    "rediss://10.0.0.5/0?ssl_cert_reqs=of": "has ssl_cert_reqs=of; write required or none",
    "rediss://shop:p@ss/secret#x@10.0.0.5/0": "is no URL: in the password, write",
    "rediss://shop:p@ss#secret@10.0.0.5/0": "is no URL: in the password, write",
    "amqp://shop:p@ss#secret@10.0.0.5/shop": "is no URL: in the password, write",
    '"redis://:secret@10.0.0.5/0"': "begins with a quote; write the URL without quotes",
    "redis://a$(reboot)/0": "has no address",
    "redis://a;reboot/0": "is no URL",
    "rediss://:sec;ret@10.0.0.5/0": "; and % as %2F %3F %23 %5B %5D %3B and %25",
    "amqp://shop:sec]ret@10.0.0.5/0": "is no URL",
}


@pytest.mark.parametrize("text", GOOD)
def test_an_endpoint_is_what_its_url_says(text: str) -> None:
    assert parse(text) == GOOD[text]
    assert parse(GOOD[text].url) == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_a_url_that_is_wrong_is_explained_without_its_password(text: str) -> None:
    with pytest.raises(ValueError, match=BAD[text]) as caught:
        parse(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", RABBITMQ)
def test_rabbitmq_reads_what_an_endpoint_says(text: str) -> None:
    endpoint = parse(text)
    assert endpoint == RABBITMQ[text]
    given = Connection(endpoint.url)  # type: ignore[no-untyped-call]
    read = (given.hostname, given.port, given.userid or "", given.password or "", given.virtual_host)
    assert read == (endpoint.address, endpoint.port, endpoint.user, endpoint.password, endpoint.path)


def test_nodes_of_rabbitmq() -> None:
    text = "amqp://shop:x@10.0.0.5/shop;amqp://shop:x@10.0.0.6:5673/shop"
    endpoint = parse(text)
    assert endpoint.addresses == (("10.0.0.5", 5672), ("10.0.0.6", 5673))
    assert endpoint.url == "amqp://shop:x@10.0.0.5:5672/shop;amqp://shop:x@10.0.0.6:5673/shop"
    with pytest.raises(ValueError, match="nodes of different users or virtual hosts"):
        parse("amqp://shop:x@10.0.0.5/shop;amqp://shop:x@10.0.0.6/other")
    with pytest.raises(ValueError, match="different schemes"):
        parse("amqp://10.0.0.5;amqps://10.0.0.6")


def test_what_celery_is_told_of_tls() -> None:
    assert parse("amqp://a").use_ssl is None
    assert parse("rediss://a").use_ssl is None, "its URL says it"
    assert parse("amqps://mq.example.com").use_ssl == {"cert_reqs": 2, "server_hostname": "mq.example.com"}
    files = "ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/c.key"
    endpoint = parse(f"amqps://a/x?{files}&ssl_cert_reqs=CERT_NONE")
    assert endpoint.use_ssl == {"cert_reqs": 0, "ca_certs": "/ca.pem", "certfile": "/c.pem", "keyfile": "/c.key"}
    assert endpoint.url == "amqps://a:5671/x", "kombu hands it to a library that does not know the names"
    assert "server_hostname" not in (parse("amqps://a/x?ssl_check_hostname=false").use_ssl or {})


def test_sentinels() -> None:
    endpoint = parse(SENTINELS)
    assert endpoint.addresses == (("10.0.0.5", 26379), ("10.0.0.6", 26379), ("10.0.0.7", 26380))
    assert (endpoint.password, endpoint.path) == ("s/x", "2")
    assert parse(endpoint.url) == endpoint
    assert parse("sentinel://a;sentinel://b/3").path == "3"
    with pytest.raises(ValueError, match="several addresses, which only sentinel"):
        parse("redis://10.0.0.5;redis://10.0.0.6/0")


def test_what_is_shown_holds_no_password() -> None:
    endpoint = parse("rediss://shop:secret@10.0.0.5:6390/1?ssl_certfile=x")
    assert endpoint.shown == "rediss://10.0.0.5:6390/1"
    assert "secret" not in repr(endpoint)


def test_a_url_in_group_data_has_no_password() -> None:
    assert check_given("@BROKER_URL") == "@BROKER_URL"
    assert check_given("redis://10.0.0.5/0") == "redis://10.0.0.5/0"
    for text in ("redis://:secret@10.0.0.5/0", "@", "@no name"):
        with pytest.raises(ValueError, match="BROKER_URL"):
            check_given(text)
