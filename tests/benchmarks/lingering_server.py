"""`ganagerie serve`, but after SIGTERM it stays for a while: a soak must say so, and not wait."""

from __future__ import annotations

import json
import sys
import time

from ganagerie.cli import main

_STAYS_S = 45.0

if __name__ == "__main__":
    try:
        main()
    finally:
        time.sleep(_STAYS_S)
        sys.stderr.write(json.dumps({"event": "was waited for", "level": "error"}) + "\n")
