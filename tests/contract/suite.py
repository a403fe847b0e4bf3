"""What the Python suites share: where the server is, how a check is named, how a run ends.

A suite is a row of named checks. Each prints one line; the first failure ends the run with exit code 1. The last line
is always `N passed, M failed`. Deliberately absent: retries, because a contract that holds sometimes does not hold.

Environment:
  GREENROOM_URL     the server, e.g. http://127.0.0.1:8642
  CONTRACT_DIRECT=1 the URL is the scripted upstream itself; checks of what only the server adds are passed over
  CONTRACT_ONLY     run only checks whose name contains this
"""

import faulthandler
import inspect
import os
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCAL = Path(os.environ.get("GREENROOM_LOCAL", ROOT / ".local"))
sys.path.insert(0, str(LOCAL / "python"))

URL = os.environ.get("GREENROOM_URL", "http://127.0.0.1:8642").rstrip("/")
DIRECT = os.environ.get("CONTRACT_DIRECT") == "1"
MODEL = "scripted"
# The same without function calling and without response_format, and one that calls tools in text.
FORMLESS = "formless"
TEXTUAL = "textual"
BOT = "spark"
# A bot that has tools of its own.
HANDY = "handy"
# A suite that hangs is a failed suite: it tells where it stood and ends.
LIMIT_SECONDS = 180
# Tells one run from another where the server remembers users.
RUN = f"{int(time.time() * 1000):x}"

# A 1x1 PNG.
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "YPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


def numbered(count):
    """The text that the marker [[chunks=count]] makes the upstream say."""
    return "".join(f"t{index} " for index in range(count))


# The text of [[unicode=6]].
UNICODE = "größer naïve—日本語👩‍👩‍👧‍👦 𝄞\nשלום\t"


def same(actual, expected, what="value"):
    """Fails unless both are equal."""
    assert actual == expected, f"{what}: expected {expected!r}, got {actual!r}"


def raises(kinds, action):
    """The error that the action ends with; fails when it ends well or with another kind."""
    try:
        action()
    except kinds as error:
        return error
    except Exception as error:
        raise AssertionError(f"expected {kinds}, got {error!r}") from error
    raise AssertionError(f"expected {kinds}, but nothing was raised")


class Suite:
    """Collects checks in order of definition and runs them."""

    def __init__(self, name):
        self.name = name
        self.checks = []

    def check(self, title, server_only=False):
        """Decorator: a named check. It is given its own user id if it takes an argument."""

        def register(function):
            self.checks.append((title, server_only, function))
            return function

        return register

    def run(self, limit_seconds=LIMIT_SECONDS):
        """Runs everything; never returns."""
        faulthandler.dump_traceback_later(limit_seconds, exit=True)
        passed = 0
        only = os.environ.get("CONTRACT_ONLY", "")
        for number, (title, server_only, function) in enumerate(self.checks):
            if (server_only and DIRECT) or only not in title:
                print(f"skip {self.name}: {title}", flush=True)
                continue
            started = time.monotonic()
            try:
                takes_user = len(inspect.signature(function).parameters) == 1
                function(*([f"{self.name}-{RUN}-{number}"] if takes_user else []))
            except Exception as error:
                traceback.print_exc()
                print(f"FAIL {self.name}: {title}: {type(error).__name__}: {error}", flush=True)
                print(f"{passed} passed, 1 failed", flush=True)
                sys.exit(1)
            passed += 1
            print(f"ok   {self.name}: {title} ({(time.monotonic() - started) * 1000:.0f} ms)", flush=True)
        print(f"{passed} passed, 0 failed", flush=True)
        sys.exit(0)
