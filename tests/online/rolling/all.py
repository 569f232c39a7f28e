# Short limits, so that what a killed worker held comes back within minutes: it is not about the shop's own tasks.
lint_ignore = {
    "task-time-limit": "the shop's tasks take seconds",
    "task-retry-delay": "the shop's tasks do not retry here",
}
