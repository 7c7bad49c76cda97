"""``python -m chaos`` with ``tests`` on the path."""

import sys

from chaos.machine import main

if __name__ == "__main__":
    sys.exit(main())
