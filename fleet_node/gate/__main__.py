"""`python -m fleet_node.gate`."""

import sys

from fleet_node.gate.gate import main

if __name__ == "__main__":
    sys.exit(main())
