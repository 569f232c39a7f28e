"""Where a role's tasks wait too long and another has room: who is lent out to whom, and until when.

Pure, and the standard library alone: the monitor's machine has it too.
"""
