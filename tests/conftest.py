"""What holds for every test."""

import signal

# A job in the background of a shell script starts with SIGINT ignored, and all its children would inherit that: tests that
# interrupt a command would wait for ever. A handler of our own is none of the children's: they start with the default.
signal.signal(signal.SIGINT, signal.default_int_handler)
