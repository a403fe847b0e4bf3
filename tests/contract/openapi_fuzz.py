"""The contract as `/openapi.json` states it: whatever fits the document, or just not, is answered as the document says.

For each operation a fixed number of requests, half fitting the schema and half breaking it, always the same ones.
Checked by schemathesis: no server error, documented status codes, content types and response bodies. 502 to 504 are let
pass where an operation documents them: they tell that something outside the server is missing, as most is here.

Deliberately absent: shrinking (a failure is shown as the curl command that provokes it) and endless streams (an
operation that documents `text/event-stream` passes when it is still open after the time limit).

Environment, besides that of suite.py: FUZZ_EXAMPLES, requests per operation and kind (default 10).
"""

import itertools
import json
import os
import signal

from suite import DIRECT, URL, Suite

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "10"))
CASE_SECONDS = 6
SEED = 20261120
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
OUTSIDE_MISSING = {"502", "503", "504"}

suite = Suite("openapi")


@schemathesis.serializer("application/x-ndjson")
def lines(_context, value):
    """One record on a line of its own."""
    return {"data": value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n"}


class TooSlow(Exception):
    """No whole answer within the limit."""


def on_alarm(_signal, _frame):
    raise TooSlow(f"no whole answer within {CASE_SECONDS} s")


def documented(operation):
    """Status codes and content types that the document gives an operation."""
    responses = operation.definition.raw.get("responses", {})
    kinds = itertools.chain.from_iterable((body.get("content") or {}) for body in responses.values())
    return {str(code) for code in responses}, set(kinds)


def try_case(case, codes, kinds):
    """One request and the checks of its answer; tells of an endless stream, if it was one."""
    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, CASE_SECONDS)
    try:
        response = case.call(timeout=CASE_SECONDS, allow_redirects=False)
    except TooSlow:
        if "text/event-stream" in kinds:
            return [case]
        raise AssertionError(f"no answer within {CASE_SECONDS} s: {case.as_curl_command()}") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    status = str(response.status_code)
    checks = CHECKS if status in OUTSIDE_MISSING & codes else [not_a_server_error, *CHECKS]
    case.validate_response(response, checks=checks)
    return []


def add(operation):
    """One check for one operation, in both kinds."""
    codes, kinds = documented(operation)

    @suite.check(operation.label)
    def fuzz():
        for mode in [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]:

            @seed(SEED)
            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
                print_blob=False,
                report_multiple_bugs=False,
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def run(case):
                # One endless stream shows what there is to see; the next would take as long again.
                if not endless:
                    endless.extend(try_case(case, codes, kinds))

            endless = []
            try:
                run()
            except Unsatisfiable:
                # An operation without input has nothing to break.
                assert mode is GenerationMode.NEGATIVE, "no request fits the schema"
            except FailureGroup as failure:
                # Not an `Exception`: the suite would not see it.
                raise AssertionError(str(failure)) from None


if not DIRECT:
    schema = schemathesis.openapi.from_url(f"{URL}/openapi.json", timeout=10)
    for result in schema.get_all_operations():
        add(result.ok())
    assert suite.checks, "the document has no operations"

suite.run(limit_seconds=400)
