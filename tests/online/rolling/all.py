# Limits are short, so that the tasks of a killed worker come back within minutes. The shop's own tasks do not matter here.
lint_ignore = {
    "task-time-limit": "the shop's tasks take seconds",
    "task-retry-delay": "the shop's tasks do not retry here",
}
