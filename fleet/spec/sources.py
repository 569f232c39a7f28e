"""Where the reasons for defaults come from, as `docs/settings.md` shows it."""

CELERY = "docs.celeryq.dev, User Guide"
MEASURED = "measured (celery 5.7.0, Redis 7.0)"
SYSTEMD = "systemd.resource-control(5)"
OURS = "this project"
