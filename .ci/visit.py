"""`visit.py PID URL PATH…`: wait until a service is ready, then visit its pages."""

import os
import sys
import time
import urllib.error
import urllib.request

# Far above what a start takes on a slow machine.
DEADLINE_SECONDS = 120
PAUSE_SECONDS = 0.2


def status(url: str) -> int | None:
    """What the server answers; None as long as nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def main(pid: str, url: str, *paths: str) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while status(f"{url}/health/ready") != 200:
        if time.monotonic() > end:
            sys.exit(f"{url} was not ready within {DEADLINE_SECONDS} s; its log is above.")
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            sys.exit("The service ended before it was ready; its log is above.")
        time.sleep(PAUSE_SECONDS)
    for path in paths:
        answer = status(url + path)
        print(f"{answer} {path}")
        if answer != 200:
            sys.exit(f"{path} should answer 200.")


if __name__ == "__main__":
    main(*sys.argv[1:])
