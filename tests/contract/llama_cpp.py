"""The `openai` kind against a real server that is not written here: llama-cpp-python's, with a model of random weights.

`llama_cpp.sh` starts the server, a Greenroom and this. With temperature 0 the model says the same whoever asks, so that
what comes through Greenroom is compared with what the server says when asked directly.

Environment, beside that of suite.py:
  LLAMA_CPP_URL      the server, e.g. http://127.0.0.1:9100/v1
  CONTRACT_RECORD=1  keep the server's streams as golden files of the provider room
"""

import json
import os
import re
import urllib.error
import urllib.request

from suite import ROOT, URL, Suite, raises, same

import openai
from openai import OpenAI
from pydantic import BaseModel

SERVER = os.environ["LLAMA_CPP_URL"].rstrip("/")
MODEL, BOT = "llama", "terse"
STREAMS = ROOT / "actors" / "provider" / "tests" / "streams" / "chat"
# The grammar leaves nothing but these two to be said, so that a model of random weights calls it well.
UNIT_TOOL = {
    "type": "function",
    "function": {
        "name": "set_unit",
        "description": "Choose a unit",
        "parameters": {
            "type": "object",
            "properties": {"unit": {"enum": ["c", "f"]}},
            "required": ["unit"],
            "additionalProperties": False,
        },
    },
}
FORCED = {"tools": [UNIT_TOOL], "tool_choice": {"type": "function", "function": {"name": "set_unit"}}}
suite = Suite("llama-cpp")
client = OpenAI(base_url=f"{URL}/v1", api_key="contract", max_retries=0, timeout=60)


def post(url, body, method="POST"):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    request.get_method = lambda: method
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        error.msg = f"{error.msg}: {error.read().decode(errors='replace')}"
        raise


def raw(**more):
    """The server's own stream, as bytes."""
    body = {"model": "tiny", "stream": True, "temperature": 0, "messages": [{"role": "user", "content": "hi"}], **more}
    return post(f"{SERVER}/chat/completions", body)


def ask(user, prompt, **more):
    extra = {"bot_id": BOT, "user": user}
    messages = [{"role": "user", "content": prompt}]
    settings = {"temperature": 0, "max_tokens": 12, **more}
    return client.chat.completions.create(model=MODEL, messages=messages, extra_body=extra, **settings)


@suite.check("the server is defined as a model, and listed")
def defined():
    extra = {"base_url": SERVER, "context_window": 4096, "max_tokens": 64}
    post(f"{URL}/v1/models/definitions/{MODEL}", {"type": "openai", "model_id": "tiny", "extra": extra}, "PUT")
    bot = {"name": "Terse", "system_prompt": "Hi.", "requires_memory": False, "uses_tools": False}
    post(f"{URL}/v1/bots/{BOT}/profile", bot, "PUT")
    [model] = [model for model in client.models.list() if model.id == MODEL]
    assert model.available, model


@suite.check("a prompt alone is answered as the server answers it")
def the_same():
    body = {"model": "tiny", "temperature": 0, "max_tokens": 12, "messages": [{"role": "user", "content": "hi"}]}
    direct = json.loads(post(f"{SERVER}/chat/completions", body))["choices"][0]["message"]["content"]
    body = {"prompt": "hi", "model": MODEL, "temperature": 0, "max_tokens": 12}
    through = json.loads(post(f"{URL}/v1/llm/complete", body))
    same(through["content"], direct.strip(), "text")
    assert through["tokens"] > 0, through


@suite.check("stream and whole say the same, with usage")
def text(user):
    whole = ask(user, "hi")
    chunks = list(ask(user, "hi", stream=True, stream_options={"include_usage": True}))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert whole.choices[0].message.content == streamed and streamed, (whole, streamed)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    # the prompt tells the time, so that what is said changes, and with it where it ends
    assert reasons == [whole.choices[0].finish_reason] and reasons[0] in ("stop", "length"), reasons
    [usage] = [chunk.usage for chunk in chunks if chunk.usage]
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0, usage


@suite.check("a call that the server is made to make comes whole, streamed and not")
def forced_call(user):
    whole = ask(user, "hi", **FORCED, **{"max_tokens": 40}).choices[0]
    [call] = whole.message.tool_calls
    assert call.function.arguments.startswith("{") and json.loads(call.function.arguments)["unit"] in "cf", call
    same((call.function.name, whole.finish_reason), ("set_unit", "tool_calls"), "call")
    with client.chat.completions.stream(
        model=MODEL,
        messages=[{"role": "user", "content": "hi"}],
        extra_body={"bot_id": BOT, "user": user},
        temperature=0,
        max_tokens=40,
        **FORCED,
    ) as events:
        [again] = events.get_final_completion().choices[0].message.tool_calls
    same((again.function.name, again.function.arguments), (call.function.name, call.function.arguments), "streamed")


@suite.check("a form that the server does not know is seen to here, and the server not blamed")
def structured(user):
    class Unit(BaseModel):
        unit: str

    # random weights say no JSON, so that the answer is refused; what counts is by whom
    failed = raises(openai.APIStatusError, lambda: client.chat.completions.parse(
        model=MODEL,
        messages=[{"role": "user", "content": "hi"}],
        response_format=Unit,
        max_tokens=12,
        extra_body={"bot_id": BOT, "user": user},
    ))
    assert "does not fit response_format" in failed.message, failed.message
    assert ask(user, "hi").choices[0].message.content


@suite.check("a prompt that is longer than the context is an error and no empty answer")
def too_long():
    body = {"prompt": "word " * 9000, "model": MODEL}
    failed = raises(urllib.error.HTTPError, lambda: post(f"{URL}/v1/llm/complete", body))
    assert failed.code in (400, 413, 502), failed.code


@suite.check("leaving a stream early leaves the server well")
def left(user):
    answer = ask(user, "hi", stream=True, max_tokens=64)
    next(chunk for chunk in answer if chunk.choices and chunk.choices[0].delta.content)
    answer.close()
    assert ask(user, "hi").choices[0].message.content


@suite.check("its streams are those that were kept")
def kept():
    for name, stream in [("text", raw(max_tokens=6)), ("forced_call", raw(max_tokens=40, **FORCED))]:
        plain = re.sub(rb'chatcmpl-[0-9a-f-]{36}', b"chatcmpl-1", stream)
        plain = re.sub(rb'cmpl-[0-9a-f-]{36}', b"cmpl-1", plain)
        plain = re.sub(rb'"created": \d+', b'"created": 1', plain).replace(b"\r\n", b"\n")
        path = STREAMS / f"llama_cpp_{name}.sse"
        if os.environ.get("CONTRACT_RECORD") == "1":
            path.write_bytes(plain)
        same(plain, path.read_bytes(), name)


suite.run()
