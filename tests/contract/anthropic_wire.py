"""The Messages wire as Anthropic's official package speaks it.

Three things are held together: what the package sends, what Greenroom's writer sends (a Rust test compares it with the
body kept in `actors/provider/tests/wire/`), and what the scripted upstream streams. The package's tool runner builds the
history of a tool turn by itself, so that nothing here decides how calls, results and errors are spelled.

Environment, beside that of suite.py:
  CONTRACT_UPSTREAM  the scripted upstream, e.g. http://127.0.0.1:9000/v1; with CONTRACT_DIRECT=1 GREENROOM_URL is it
  CONTRACT_RECORD=1  keep what the package sends, instead of comparing with what was kept
"""

import json
import os
import urllib.request

from suite import BOT, DIRECT, PIXEL, ROOT, URL, UNICODE, Suite, numbered, raises, same

import anthropic
from anthropic import Anthropic, DefaultHttpxClient, beta_tool
from anthropic.lib.tools import ToolError
from pydantic import BaseModel

UPSTREAM = (URL if DIRECT else os.environ["CONTRACT_UPSTREAM"]).rstrip("/").removesuffix("/v1")
KEPT = ROOT / "actors" / "provider" / "tests" / "wire"
MODEL = "claude-scripted-1"
SYSTEM = "You are the weather service of a small island."
suite = Suite("anthropic-wire")
sent = []


def note(request):
    """Keeps the body of each request that leaves the package."""
    if request.content:
        sent.append(json.loads(request.content))


client = Anthropic(
    base_url=UPSTREAM,
    api_key="contract",
    max_retries=0,
    timeout=30,
    http_client=DefaultHttpxClient(event_hooks={"request": [note]}),
)


def ask(prompt, **more):
    return {"model": MODEL, "max_tokens": 256, "messages": [{"role": "user", "content": prompt}], **more}


def stream(prompt, **more):
    with client.messages.stream(**ask(prompt, **more)) as events:
        text = "".join(events.text_stream)
        return text, events.get_final_message()


def calls(message):
    return [(block.name, block.input) for block in message.content if block.type == "tool_use"]


def blocks(content):
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def plain(body):
    """A body without what says the same in two ways: texts become blocks, defaults are left out."""
    members = ["max_tokens", "stop_sequences", "stream", "tool_choice", "output_config"]
    kept = {name: body[name] for name in members if body.get(name) is not None}
    kept["system"] = "".join(block["text"] for block in blocks(body.get("system", "")))
    kept["messages"] = []
    for message in body["messages"]:
        content = []
        for block in blocks(message["content"]):
            # `caller` and `citations` are told by the provider and may be left out
            block = {name: value for name, value in block.items() if value not in (None, False) and name != "caller"}
            if block["type"] == "tool_result":
                block["content"] = "".join(part["text"] for part in blocks(block.get("content", "")))
            content.append(block)
        kept["messages"].append({"role": message["role"], "content": content})
    tools = [{name: tool[name] for name in ("name", "description", "input_schema")} for tool in body.get("tools", [])]
    kept["tools"] = tools
    return kept


def compare(name, body):
    """Compares with what was kept, or keeps it."""
    path = KEPT / f"{name}.json"
    if os.environ.get("CONTRACT_RECORD") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    same(body, json.loads(path.read_text()), name)


@beta_tool
def get_weather(city: str) -> str:
    """Weather in a city.

    Args:
        city: The city's name.
    """
    if city == "Lima":
        raise ToolError("no such station")
    return f"Rain in {city}."


def tool_turn():
    """A turn with a picture in which two tools are called at once, one of which fails; gives its second request."""
    media_type, data = PIXEL.removeprefix("data:").split(";base64,")
    picture = {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}
    prompt = [{"type": "text", "text": "What will it be like there? [[parallel]]"}, picture]
    sent.clear()
    runner = client.beta.messages.tool_runner(
        **ask(prompt),
        system=SYSTEM,
        tools=[get_weather],
        stop_sequences=["END"],
        tool_choice={"type": "auto"},
        stream=True,
        thread=False,  # the whole history, instead of one that the server keeps
    )
    for events in runner:
        last = events.get_final_message()
    same(len(sent), 2, "requests")
    same("".join(block.text for block in last.content), "The tool said: Rain in Oslo., no such station.", "answer")
    return sent[1]


@suite.check("a tool turn is sent as it was kept")
def tool_turn_is_kept():
    compare("messages_tool_turn", plain(tool_turn()))


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int | None


@suite.check("structured output is asked for as it was kept")
def structured_output_is_kept():
    answer = json.dumps({"name": "Oslo", "inhabitants": 700000})
    sent.clear()
    parsed = client.messages.parse(**ask(f"Describe it. [[text={answer}]]"), output_format=City)
    same(parsed.parsed_output, City(name="Oslo", inhabitants=700000), "parsed")
    compare("messages_structured_output", plain(sent[0]))


@suite.check("the upstream's text stream is one to the package")
def text_stream():
    text, message = stream("[[chunks=12]]")
    same(text, numbered(12), "text")
    same((message.stop_reason, message.model), ("end_turn", MODEL), "end")
    same((message.usage.input_tokens, message.usage.output_tokens), (11, 12), "usage")
    same(stream("[[unicode=6]][[split=1]]")[0], UNICODE, "unicode")
    same(stream("[[chunks=5]][[noise]][[crlf]]")[0], numbered(5), "noise")


@suite.check("thinking, calls and their reasons are read from the stream")
def thinking_and_calls():
    _, message = stream("[[chunks=2]][[reasoning=2]]")
    same([block.type for block in message.content], ["thinking", "text"], "blocks")
    same(message.content[0].thinking, "thought 0. thought 1. ", "thinking")
    tools = [{"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]
    for prompt in ["[[parallel]]", "[[parallel]][[interleaved]]"]:
        _, message = stream(prompt, tools=tools)
        same(calls(message), [("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Lima"})], prompt)
        same(message.stop_reason, "tool_use", prompt)
    for reason, word in [("length", "max_tokens"), ("content_filter", "refusal"), ("pause_turn", "pause_turn")]:
        same(stream(f"[[chunks=1]][[finish={reason}]]")[1].stop_reason, word, reason)


@suite.check("a whole answer is one to the package")
def whole_answer():
    message = client.messages.create(**ask("[[chunks=3]]"))
    same((message.content[0].text, message.stop_reason), (numbered(3), "end_turn"), "message")
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    same(calls(client.messages.create(**ask("[[tool]]", tools=tools))), [("f", {"city": "Oslo"})], "call")


@suite.check("refusals and broken streams are the package's errors")
def errors():
    for status, kind in [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (529, anthropic.InternalServerError),
    ]:
        error = raises(kind, lambda status=status: client.messages.create(**ask(f"[[status={status}]]")))
        same(error.body["type"], "error", "body")
    same(error.body["error"]["type"], "overloaded_error", "kind")
    raises(anthropic.APIStatusError, lambda: stream("[[chunks=5]][[error=2]]"))


@suite.check("the upstream refuses what the API refuses")
def judged():
    use = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    for messages in [
        [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [use]}, {"role": "user", "content": "go"}],
        [{"role": "assistant", "content": "hi"}],
        [{"role": "user", "content": " "}],
    ]:
        raises(anthropic.BadRequestError, lambda: client.messages.create(**{**ask(""), "messages": messages}))


def post(path, body, method="POST"):
    request = urllib.request.Request(f"{URL}{path}", json.dumps(body).encode(), {"content-type": "application/json"})
    request.get_method = lambda: method
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


@suite.check("a turn through Greenroom sends what the package sends", server_only=True)
def through_greenroom(user):
    extra = {"base_url": UPSTREAM, "api_key": "contract", "context_window": 32000, "max_tokens": 256}
    definition = {"type": "anthropic", "model_id": MODEL, "extra": extra}
    post("/v1/models/definitions/claude-scripted", definition, "PUT")
    kept = json.loads((KEPT / "messages_tool_turn.json").read_text())
    tools = [
        {"type": "function", "function": {"parameters" if name == "input_schema" else name: tool[name] for name in tool}}
        for tool in kept["tools"]
    ]
    # the prompt asks the upstream to tell what it was sent
    prompt = "What will it be like there? [[echo_field=wire_request]]"
    conversation = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": PIXEL}}]},
    ]
    for message in kept["messages"][1:]:
        for block in message["content"]:
            if block["type"] == "tool_use":
                function = {"name": block["name"], "arguments": json.dumps(block["input"])}
                if conversation[-1]["role"] != "assistant":
                    conversation.append({"role": "assistant", "content": None, "tool_calls": []})
                conversation[-1]["tool_calls"].append({"id": block["id"], "type": "function", "function": function})
            elif block["type"] == "tool_result":
                conversation.append({"role": "tool", "tool_call_id": block["tool_use_id"], "content": block["content"]})
    # only the bot's own path takes a client's system message
    answer = post(
        f"/v1/botchat/{BOT}/{user}/chat/completions",
        {"model": "claude-scripted", "messages": conversation, "tools": tools, "stop": ["END"]},
    )
    told = plain(json.loads(answer["choices"][0]["message"]["content"]))
    assert SYSTEM in told["system"], told["system"]
    for message in told["messages"] + kept["messages"]:
        for block in message["content"]:
            block.pop("is_error", None)  # a client has no way to say that its tool failed
    kept["messages"][0]["content"][0]["text"] = prompt
    for name in ["messages", "max_tokens", "stream", "stop_sequences"]:
        same(told[name], kept[name], name)
    same([tool for tool in told["tools"] if tool in kept["tools"]], kept["tools"], "tools")


suite.run()
