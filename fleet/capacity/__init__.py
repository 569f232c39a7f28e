"""How many slots a load needs, how long its tasks wait, and where capacity is missing. Pure: no I/O."""
