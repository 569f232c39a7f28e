# Limits are short, so that a stop of a worker that hangs takes two minutes. The shop's own tasks do not matter here.
lint_ignore = {"task-time-limit": "the shop's tasks take seconds"}
