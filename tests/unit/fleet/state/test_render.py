"""Templates that a user has broken: one line, with file and line."""

from pathlib import Path

import pytest

from fleet.spec.mistakes import SpecError
from fleet.state import render


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\nb \xe9\n", "line 2: the byte 0xe9 is not UTF-8; save the file as UTF-8"),
        (b"a\n\n{% if %}\n", "line 3: TemplateSyntaxError: Expected an expression, got 'end of statement block'"),
        (b"a\n{{ nobody }}\n", "line 2: UndefinedError: 'nobody' is undefined"),
        (b"a\n{{ 1 / 0 }}\n", "line 2: ZeroDivisionError: division by zero"),
    ],
)
def test_a_broken_template_is_named_with_its_line(
    content: bytes, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "templates" / "etc").mkdir(parents=True)
    (tmp_path / "templates" / "etc" / "x.conf.j2").write_bytes(content)
    monkeypatch.setattr(render, "TEMPLATES", tmp_path / "templates")
    render._environment.cache_clear()
    try:
        with pytest.raises(SpecError) as caught:
            render.render("etc/x.conf.j2")
    finally:
        render._environment.cache_clear()
    assert str(caught.value) == f"templates/etc/x.conf.j2, {expected}"
