"""`python -m fleet_node.step`."""

import sys

from fleet_node.step.step import main

if __name__ == "__main__":
    sys.exit(main())
