"""`python -m videossr.services.start_after URL ARGUMENTS`: wait for a server at URL, then become `python ARGUMENTS`."""

import os
import sys
import time

from videossr.services.health import answers


def main() -> None:
    """Wait without a limit: supervisord restarts the server, and the user sees that this service is not ready."""
    url, *arguments = sys.argv[1:]
    while not answers(url):
        time.sleep(0.5)
    os.execv(sys.executable, [sys.executable, *arguments])


if __name__ == "__main__":
    main()
