"""Real Celery apps of several styles describe themselves, loaded as their users would load them."""

import sys
from pathlib import Path

import pytest

from fleet.lint.app import App, AppError, AppTask, load, parse

PYTHON = Path(sys.executable)


def describe(folder: Path, name: str, **environment: str) -> App:
    return load(name, folder, PYTHON, environment)


def task(app: App, name: str) -> AppTask:
    (match,) = [task for task in app.tasks if task.name == name]
    return match


def test_an_app_with_a_namespace_like_djangos(tmp_path: Path) -> None:
    (tmp_path / "site_settings.py").write_text(
        "CELERY_BROKER_URL = 'redis://:hunter2@redis.internal:6379/0'\n"
        "CELERY_TASK_ACKS_LATE = True\nCELERY_TASK_TIME_LIMIT = 1800\n"
        "CELERY_TASK_ROUTES = {'mail.*': {'queue': 'mail'}}\nCELERY_TASK_DEFAULT_QUEUE = 'main'\n"
        "CELERY_BROKER_TRANSPORT_OPTIONS = {'visibility_timeout': 7200, 'password': 'hunter2'}\n"
    )
    (tmp_path / "site_app.py").write_text(
        "from celery import Celery\napp = Celery('site')\napp.config_from_object('site_settings', namespace='CELERY')\n"
        "@app.task(name='mail.send')\ndef send(): pass\n@app.task(name='report', time_limit=60)\ndef report(): pass\n"
    )
    app = describe(tmp_path, "site_app")
    assert (task(app, "mail.send").queues, task(app, "report").queues) == (("mail",), ("main",))
    assert task(app, "mail.send").time_limit == 1800
    assert task(app, "report").time_limit == 60
    assert task(app, "report").acks_late
    assert not task(app, "report").reject_on_worker_lost
    assert app.settings["broker_transport_options"] == {"visibility_timeout": 7200}
    assert app.broker == "redis://redis.internal:6379"
    assert "hunter2" not in app.model_dump_json()


def test_an_app_with_declared_queues_and_a_router_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text(
        "from kombu import Exchange, Queue\n"
        "task_queues = [Queue('fast', Exchange('fast'), routing_key='fast'), Queue('slow')]\n"
        "task_default_queue = 'fast'\ntask_create_missing_queues = False\n"
        "def route(name, args, kwargs, options, task=None, **kw):\n"
        "    return {'queue': 'slow'} if name.startswith('slow') else None\n"
        "task_routes = (route,)\nworker_concurrency = 16\n"
    )
    (tmp_path / "jobs.py").write_text(
        "from datetime import timedelta\nfrom celery import Celery\n"
        "app = Celery('jobs')\napp.config_from_object('celeryconfig')\n"
        "@app.task(name='slow.one', default_retry_delay=timedelta(minutes=10))\ndef one(): pass\n"
        "@app.task(name='two')\ndef two(): pass\n@app.task(name='three', queue='slow')\ndef three(): pass\n"
        "@app.task(name='four', queue='nowhere')\ndef four(): pass\n"
    )
    app = describe(tmp_path, "jobs")
    assert app.queues == ("fast", "slow")
    assert [task(app, name).queues for name in ("slow.one", "two", "three")] == [("slow",), ("fast",), ("slow",)]
    assert task(app, "slow.one").retry_delay == 600
    assert task(app, "four").queues == ()
    assert task(app, "four").route_error == "QueueNotFound: \"Queue 'nowhere' missing from task_queues\""
    assert app.settings == {"task_create_missing_queues": False, "worker_concurrency": 16}


def test_queues_by_exchange_and_routing_key_and_the_old_names_of_settings(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text(
        "from celery import Celery\nfrom kombu import Exchange, Queue\n"
        "topic, direct = Exchange('events', 'topic'), Exchange('work', 'direct')\n"
        "app = Celery('old')\napp.conf.update(CELERY_ACKS_LATE=True, CELERYD_PREFETCH_MULTIPLIER=8, BROKER_URL='amqp://u:p@mq//',\n"
        "    CELERY_QUEUES=(Queue('audit', topic, routing_key='user.#'), Queue('mail', topic, routing_key='*.signup'),\n"
        "        Queue('work', direct, routing_key='w')), CELERY_DEFAULT_QUEUE='work', CELERY_DEFAULT_EXCHANGE='work',\n"
        "    CELERY_DEFAULT_ROUTING_KEY='w',\n"
        "    CELERY_ROUTES={'signup': {'exchange': 'events', 'routing_key': 'user.signup'},\n"
        "        'login': {'exchange': 'events', 'routing_key': 'user.login'},\n"
        "        'lost': {'exchange': 'events', 'routing_key': 'x'}})\n"
        "def run(): pass\nfor name in ('signup', 'login', 'plain', 'lost'): app.task(run, name=name)\n"
    )
    app = describe(tmp_path, "old")
    assert [task(app, name).queues for name in ("signup", "login", "plain", "lost")] == [
        ("audit", "mail"),
        ("audit",),
        ("work",),
        (),
    ]
    assert (app.queues, app.default_queue) == (("audit", "mail", "work"), "work")
    assert app.settings["worker_prefetch_multiplier"] == 8
    assert task(app, "plain").acks_late
    assert app.broker == "amqp://mq"


def test_queues_that_are_declared_as_a_dict(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(
        "from celery import Celery\napp = Celery('plain')\n"
        "app.conf.task_queues = {'high': {'exchange': 'high', 'routing_key': 'high'}, 'bulk': {'exchange': 'bulk'}}\n"
        "app.conf.task_default_queue = 'bulk'\n@app.task(name='one')\ndef one(): pass\n"
    )
    app = describe(tmp_path, "plain")
    assert app.queues == ("bulk", "high")
    assert task(app, "one").queues == ("bulk",)


def test_what_an_app_prints_is_not_its_description(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text("from celery import Celery\nprint('hello', end='')\napp = Celery('loud')\n")
    assert describe(tmp_path, "loud").app == "loud"


def test_an_app_that_prints_at_exit_or_leaves_threads_running(tmp_path: Path) -> None:
    (tmp_path / "lively.py").write_text(
        "import atexit, sys, threading, time\nfrom celery import Celery\natexit.register(print, 'bye')\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\nsys.stdout.buffer.write(b'\\xff')\napp = Celery('lively')\n"
    )
    assert describe(tmp_path, "lively").app == "lively"


def test_the_longest_retry_delay_is_the_longest_backoff(tmp_path: Path) -> None:
    (tmp_path / "retries.py").write_text(
        "from celery import Celery\napp = Celery('retries')\n"
        "@app.task(name='patient', autoretry_for=(OSError,), retry_backoff=600, retry_backoff_max=7200, max_retries=10)\n"
        "def patient(): pass\n"
        "@app.task(name='quick', autoretry_for=(OSError,), retry_backoff=True, max_retries=2)\ndef quick(): pass\n"
        "@app.task(name='fixed', autoretry_for=(OSError,), retry_kwargs={'countdown': 600})\ndef fixed(): pass\n"
    )
    app = describe(tmp_path, "retries")
    assert (task(app, "patient").retry_delay, task(app, "quick").retry_delay) == (7200, 180)
    assert task(app, "fixed").retry_delay == 600


def test_a_schedule_is_seen_however_an_app_makes_it(tmp_path: Path) -> None:
    (tmp_path / "timed.py").write_text(
        "from celery import Celery\napp = Celery('timed')\n@app.task\ndef one(): pass\n"
        "app.conf.beat_schedule = {'nightly': {'task': 'timed.one', 'schedule': 3600}}\n"
        "@app.on_after_configure.connect\ndef more(sender, **_): sender.add_periodic_task(60, one.s(), name='each minute')\n"
    )
    assert describe(tmp_path, "timed").schedule == ("each minute", "nightly")


def test_no_secret_in_a_description(tmp_path: Path) -> None:
    (tmp_path / "leaky.py").write_text(
        "import os\nfrom celery import Celery\napp = Celery('leaky', broker='redis://h:6379?password=hunter2222')\n"
        "def route(*args, **kw): raise RuntimeError('cannot connect with ' + os.environ['TOKEN'])\n"
        "app.conf.task_routes = (route,)\n@app.task(name='one')\ndef one(): pass\n"
    )
    app = describe(tmp_path, "leaky", TOKEN="super\\secret")
    assert task(app, "one").route_error == "RuntimeError: cannot connect with <TOKEN>"
    assert app.broker == "redis://h:6379"


def test_an_app_that_does_not_import_says_why(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import os\nos.environ['NEEDED']\n")
    with pytest.raises(AppError, match=r"celery_app broken does not import: KeyError: 'NEEDED'"):
        describe(tmp_path, "broken")


def test_a_missing_python(tmp_path: Path) -> None:
    with pytest.raises(AppError, match="no such Python"):
        load("x", tmp_path, tmp_path / "python", {})


def test_output_without_a_description_is_refused() -> None:
    with pytest.raises(AppError, match="not readable"):
        parse("Segmentation fault")


def test_an_interpreter_by_a_path_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs.py").write_text("from celery import Celery\napp = Celery('jobs')\n")
    monkeypatch.chdir(PYTHON.parent)
    assert load("jobs", tmp_path, Path(PYTHON.name), {}).app == "jobs"
