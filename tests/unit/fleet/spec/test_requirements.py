from fleet.spec.requirements import entries, merge, unpinned

APP = """\
celery[redis]==5.7.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via -r requirements.in
greenlet==3.0.0 \\
    --hash=sha256:cc
"""
GEVENT = """\
gevent==26.9.0 \\
    --hash=sha256:dd
greenlet==3.5.6 \\
    --hash=sha256:ee
    # via gevent
zope.event==6.2 ; python_version >= "3.9" \\
    --hash=sha256:ff
"""


def test_an_entry_keeps_its_hashes_and_its_marker() -> None:
    lines = entries(GEVENT)
    assert list(lines) == ["gevent", "greenlet", "zope-event"]
    assert lines["zope-event"].splitlines()[0].startswith('zope.event==6.2 ; python_version >= "3.9"')
    assert "--hash=sha256:ff" in lines["zope-event"]
    assert "--hash=sha256:bb" in entries(APP)["celery"]


def test_the_apps_own_pins_take_precedence() -> None:
    merged = merge(APP, [GEVENT])
    assert "greenlet==3.0.0" in merged
    assert "greenlet==3.5.6" not in merged
    assert entries(merged).keys() == {"celery", "greenlet", "gevent", "zope-event"}


def test_no_extras_add_nothing() -> None:
    assert merge(APP, []) == APP


def test_unpinned_requirements_are_named() -> None:
    assert unpinned("a==1\nb>=2\nc\nd @ https://host/d.whl\n# e\nf[x]==1 # why\ng==2.*\n") == ["b", "c", "g"]


def test_options_and_local_paths_are_named() -> None:
    assert unpinned("-r base.txt\n-e .\n./wheels/x.whl\n" + APP) == ["-r base.txt", "-e .", "./wheels/x.whl"]
