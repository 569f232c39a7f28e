import pytest

from fleet.spec.sizes import parse_size, parse_size_or_share, resolve


@pytest.mark.parametrize(
    ("text", "size"), [("512M", 512 << 20), ("2G", 2 << 30), ("2048k", 2 << 20), ("1GB", 1 << 30), (1 << 30, 1 << 30)]
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "M", "-1M", "1.5G", True, None, 0, 512, "64K", "12 parsecs"])
def test_a_wrong_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match='such as "512M"'):
        parse_size(text)


def test_a_share_is_resolved_against_the_whole() -> None:
    assert resolve(parse_size_or_share("40%"), 1000) == 400
    assert resolve(parse_size_or_share("1M"), 1000) == 1 << 20


@pytest.mark.parametrize("text", ["0%", "96%", "400%"])
def test_a_share_has_bounds(text: str) -> None:
    with pytest.raises(ValueError, match="from"):
        parse_size_or_share(text)
