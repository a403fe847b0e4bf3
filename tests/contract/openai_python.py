"""The contract as the official Python SDK sees it.

A turn with service frames, event ids and keep-alives must look like a plain OpenAI answer, and a broken one like an
error. Prompts carry `[[markers]]` that direct the scripted upstream behind the server.
"""

import asyncio
import base64
import json
import urllib.request

from suite import (
    BOT,
    DIRECT,
    FORMLESS,
    HANDY,
    MODEL,
    PIXEL,
    TEXTUAL,
    UNICODE,
    URL,
    WEATHER_TOOL,
    Suite,
    numbered,
    raises,
    same,
)

import openai
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

suite = Suite("openai-python")
SETTINGS = {"base_url": f"{URL}/v1", "api_key": "contract", "max_retries": 0, "timeout": 30}
client = OpenAI(**SETTINGS)


def said(prompt):
    return [{"role": "user", "content": prompt}]


def request(user, prompt, **more):
    """The arguments of a chat call to the bot by this user."""
    messages = said(prompt) if isinstance(prompt, str) else prompt
    return {"model": MODEL, "messages": messages, "user": user, "extra_body": {"bot_id": BOT}, **more}


def ask(user, prompt, **more):
    return client.chat.completions.create(**request(user, prompt, **more))


def stream(user, prompt, **more):
    return client.chat.completions.create(**request(user, prompt, stream=True, **more))


def helper(user, prompt, **more):
    return client.chat.completions.stream(**request(user, prompt, **more))


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def reasons_of(chunks):
    return [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]


def answer_of(completion):
    return completion.choices[0].message.content


@suite.check("models are listed and one is retrieved")
def models():
    listed = client.models.list()
    same(listed.object, "list", "object")
    by_id = {model.id: model for model in listed}
    assert MODEL in by_id, f"'{MODEL}' is not among {sorted(by_id)}"
    for model in by_id.values():
        same(model.object, "model", "object")
        assert isinstance(model.created, int) and isinstance(model.owned_by, str), model
    same(client.models.retrieve(MODEL).id, MODEL, "retrieved id")
    raises(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))


@suite.check("plain stream")
def plain_stream(user):
    chunks = list(stream(user, "[[chunks=12]]"))
    same(text_of(chunks), numbered(12), "text")
    same(reasons_of(chunks), ["stop"], "finish reasons")
    same(len({chunk.id for chunk in chunks}), 1, "completion ids")
    same(len({chunk.created for chunk in chunks}), 1, "creation times")
    roles = [choice.delta.role for chunk in chunks for choice in chunk.choices if choice.delta.role]
    same(roles, ["assistant"], "roles")
    # Naive clients index the first choice of every chunk.
    for chunk in chunks:
        assert chunk.choices[0].delta is not None
        assert chunk.choices[0].index == 0
        assert not chunk.choices[0].delta.tool_calls


@suite.check("plain stream on the bot's own path", server_only=True)
def bot_path(user):
    own = OpenAI(**{**SETTINGS, "base_url": f"{URL}/v1/botchat/{BOT}/{user}"})
    chunks = own.chat.completions.create(model=MODEL, messages=said("[[chunks=4]]"), stream=True)
    same(text_of(chunks), numbered(4), "text")


@suite.check("stream helper: events and final completion")
def stream_helper(user):
    events, pieces = [], []
    with helper(user, "[[chunks=7]]") as answer:
        for event in answer:
            events.append(event.type)
            if event.type == "content.delta":
                pieces.append(event.delta)
                same(event.snapshot, "".join(pieces), "snapshot")
            if event.type == "content.done":
                same(event.content, numbered(7), "whole content")
        final = answer.get_final_completion()
    same("".join(pieces), numbered(7), "pieces")
    same(events.count("content.done"), 1, "content.done events")
    foreign = {kind for kind in events if kind not in {"chunk", "content.delta", "content.done"}}
    same(foreign, set(), "other events")
    same(answer_of(final), numbered(7), "final content")
    same(final.choices[0].finish_reason, "stop", "finish reason")
    assert not final.choices[0].message.tool_calls


@suite.check("non-streaming")
def non_streaming(user):
    whole = ask(user, "[[chunks=5]]")
    same(whole.object, "chat.completion", "object")
    assert whole.id.startswith("chatcmpl-"), whole.id
    same((answer_of(whole), whole.choices[0].message.role), (numbered(5), "assistant"), "message")
    same((whole.choices[0].index, whole.choices[0].finish_reason), (0, "stop"), "choice")
    assert whole.usage.prompt_tokens > 0 and whole.usage.completion_tokens > 0
    same(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens, "total")
    assert not whole.choices[0].message.tool_calls


@suite.check("usage stands in the last chunk when asked for")
def include_usage(user):
    chunks = list(stream(user, "[[chunks=5]]", stream_options={"include_usage": True}))
    same(text_of(chunks), numbered(5), "text")
    with_usage = [chunk for chunk in chunks if chunk.usage]
    same(len(with_usage), 1, "chunks with usage")
    same(with_usage[0].choices, [], "its choices")
    assert with_usage[0] is [chunk for chunk in chunks if chunk.object == "chat.completion.chunk"][-1]
    same(with_usage[0].usage.completion_tokens, 5, "completion tokens")
    with helper(user, "[[chunks=5]]", stream_options={"include_usage": True}) as answer:
        final = answer.get_final_completion()
    same((answer_of(final), final.usage.completion_tokens), (numbered(5), 5), "helper")


@suite.check("no usage in the stream unless asked for")
def no_usage(user):
    chunks = list(stream(user, "[[chunks=2]]"))
    same([chunk for chunk in chunks if chunk.object == "chat.completion.chunk" and chunk.usage], [], "usage")
    assert all(chunk.choices for chunk in chunks), "a chunk without choices"


def continuation(call_message, results):
    calls = call_message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
    ids = [call.id for call in call_message.tool_calls]
    tail = [{"role": "tool", "tool_call_id": call, "content": result} for call, result in zip(ids, results)]
    return [calls, *tail]


@suite.check("client tools, non-streaming, with the continuation")
def tools_whole(user):
    messages = said("[[tool]] What is the weather?")
    first = ask(user, messages, tools=[WEATHER_TOOL])
    same(first.choices[0].finish_reason, "tool_calls", "finish reason")
    [call] = first.choices[0].message.tool_calls
    same((call.type, call.function.name), ("function", "get_weather"), "call")
    same(json.loads(call.function.arguments), {"city": "Oslo"}, "arguments")
    assert call.id
    messages += continuation(first.choices[0].message, ["12 degrees"])
    second = ask(user, messages, tools=[WEATHER_TOOL])
    same(answer_of(second), "The tool said: 12 degrees.", "answer")
    same(second.choices[0].finish_reason, "stop", "finish reason")


def assembled(chunks):
    """Tool calls as a client puts them together: by index, strings appended."""
    calls, reasons = {}, []
    for chunk in chunks:
        for choice in chunk.choices:
            reasons += [choice.finish_reason] if choice.finish_reason else []
            for delta in choice.delta.tool_calls or []:
                call = calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
                call["id"] += delta.id or ""
                call["name"] += delta.function.name or ""
                call["arguments"] += delta.function.arguments or ""
    return [calls[index] for index in sorted(calls)], reasons


@suite.check("client tools, streaming, with the continuation")
def tools_stream(user):
    messages = said("[[tool]] What is the weather?")
    [call], reasons = assembled(stream(user, messages, tools=[WEATHER_TOOL]))
    same(reasons, ["tool_calls"], "finish reasons")
    same((call["name"], json.loads(call["arguments"])), ("get_weather", {"city": "Oslo"}), "call")
    function = {"name": call["name"], "arguments": call["arguments"]}
    calls = [{"id": call["id"], "type": "function", "function": function}]
    messages += [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": call["id"], "content": "12 degrees"},
    ]
    same(text_of(stream(user, messages, tools=[WEATHER_TOOL])), "The tool said: 12 degrees.", "answer")


@suite.check("client tools by the stream helper, with the continuation")
def tools_helper(user):
    messages = said("[[tool]] What is the weather?")
    with helper(user, messages, tools=[WEATHER_TOOL]) as answer:
        done = [event for event in answer if event.type == "tool_calls.function.arguments.done"]
        first = answer.get_final_completion()
    same([(event.name, json.loads(event.arguments)) for event in done], [("get_weather", {"city": "Oslo"})], "events")
    [call] = first.choices[0].message.tool_calls
    same(call.function.parsed_arguments, {"city": "Oslo"}, "parsed arguments")
    messages += continuation(first.choices[0].message, ["12 degrees"])
    with helper(user, messages, tools=[WEATHER_TOOL]) as answer:
        same(answer_of(answer.get_final_completion()), "The tool said: 12 degrees.", "answer")


@suite.check("parallel tool calls, streaming and not")
def parallel_tools(user):
    messages = said("[[parallel]][[interleaved]] Weather in two cities?")
    cities = [{"city": "Oslo"}, {"city": "Lima"}]
    calls, reasons = assembled(stream(user, messages, tools=[WEATHER_TOOL]))
    same((reasons, [json.loads(call["arguments"]) for call in calls]), (["tool_calls"], cities), "stream")
    same([call["name"] for call in calls], ["get_weather"] * 2, "names")
    same(len({call["id"] for call in calls}), 2, "ids")
    whole = ask(user, messages, tools=[WEATHER_TOOL], parallel_tool_calls=True).choices[0].message
    same([json.loads(call.function.arguments) for call in whole.tool_calls], cities, "non-streaming")
    same(len({call.id for call in whole.tool_calls}), 2, "ids")
    messages += continuation(whole, ["rain", "sun"])
    same(answer_of(ask(user, messages, tools=[WEATHER_TOOL])), "The tool said: rain, sun.", "answer")


OWN_TOOL = "[[tool=time]][[args={}]] What time is it?"
HAND = {"extra_body": {"bot_id": HANDY}}


@suite.check("a turn in which the bot used its tools is plain text", server_only=True)
def own_tools(user):
    chunks = list(stream(user, OWN_TOOL, stream_options={"include_usage": True}, **HAND))
    objects = [chunk.object for chunk in chunks]
    assert "service.tool_call" in objects and "service.tool_result" in objects, objects
    assert text_of(chunks).startswith("The tool said: ") and "UTC" in text_of(chunks), text_of(chunks)
    same((reasons_of(chunks), assembled(chunks)[0]), (["stop"], []), "finish reasons and calls")
    same(len([chunk for chunk in chunks if chunk.usage]), 1, "chunks with usage")
    with helper(user, OWN_TOOL, **HAND) as answer:
        kinds = {event.type for event in answer}
        final = answer.get_final_completion()
    same(kinds, {"chunk", "content.delta", "content.done"}, "events")
    for whole in [final, ask(user, OWN_TOOL, **HAND)]:
        assert answer_of(whole).startswith("The tool said: "), whole
        same((whole.choices[0].finish_reason, whole.choices[0].message.tool_calls or []), ("stop", []), "end")


@suite.check("tools of the bot and of the client in one batch, with the continuation", server_only=True)
def both_kinds(user):
    messages = said("[[tool=time]][[args={}]][[also=get_weather]] Time and weather?")
    tools = {"tools": [WEATHER_TOOL], **HAND}
    streamed, reasons = assembled(stream(user, messages, **tools))
    same(reasons, ["tool_calls"], "finish reasons")
    with helper(user, messages, **tools) as answer:
        final = answer.get_final_completion().choices[0].message
    whole = ask(user, messages, **tools).choices[0].message
    for names in [[call["name"] for call in streamed], *([c.function.name for c in m.tool_calls] for m in [final, whole])]:
        same(names, ["get_weather"], "the client's calls alone")
    for message in [final, whole]:
        second = ask(user, [*messages, *continuation(message, ["12 degrees"])], **tools)
        text = answer_of(second)
        assert text.startswith("The tool said: ") and "UTC" in text and text.endswith(", 12 degrees."), text
        same(second.choices[0].finish_reason, "stop", "finish reason")


@suite.check("client tools with a model that calls them in text", server_only=True)
def textual_tools(user):
    messages = said("Weather in words?")
    tools = {"tools": [WEATHER_TOOL], "model": TEXTUAL}
    [call], reasons = assembled(stream(user, messages, **tools))
    same((reasons, call["name"], json.loads(call["arguments"])), (["tool_calls"], "get_weather", {"city": "Oslo"}), "call")
    first = ask(user, messages, **tools)
    same(first.choices[0].finish_reason, "tool_calls", "finish reason")
    messages += continuation(first.choices[0].message, ["pouring"])
    same(text_of(stream(user, messages, **tools)), "It rains in Oslo.", "answer")


@suite.check("images reach the model")
def images(user):
    png = {"type": "image_url", "image_url": {"url": PIXEL}}
    jpeg = base64.b64encode(b"\xff\xd8\xff\xe0 not much of a picture").decode()
    other = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{jpeg}", "detail": "low"}}
    content = [{"type": "text", "text": "[[echo_parts]] What is this?"}, png, other]
    same(answer_of(ask(user, [{"role": "user", "content": content}])), "images: 2", "non-streaming")
    same(text_of(stream(user, [{"role": "user", "content": content}])), "images: 2", "streaming")


@suite.check("sampling parameters reach the model")
def sampling(user):
    same(answer_of(ask(user, "[[echo_field=temperature]]", temperature=0.25)), "0.25", "temperature")
    same(json.loads(answer_of(ask(user, "[[echo_field=stop]]", stop=["END"]))), ["END"], "stop")
    same(answer_of(ask(user, "[[echo_field=seed]]", seed=7)), "7", "seed")


@suite.check("finish reasons of the model are passed on")
def finish_reasons(user):
    for reason in ["length", "content_filter"]:
        chunks = list(stream(user, f"[[chunks=3]][[finish={reason}]]"))
        same(text_of(chunks), numbered(3), "text")
        same(reasons_of(chunks), [reason], "stream")
        same(ask(user, f"[[chunks=3]][[finish={reason}]]").choices[0].finish_reason, reason, "non-streaming")


@suite.check("structured output is parsed")
def structured(user):
    class City(BaseModel):
        city: str

    prompt = '[[text={"city":"Oslo"}]]'
    parsed = client.chat.completions.parse(**request(user, prompt, response_format=City))
    same(parsed.choices[0].message.parsed, City(city="Oslo"), "parsed")
    with helper(user, prompt, response_format=City) as answer:
        [done] = [event for event in answer if event.type == "content.done"]
    same(done.parsed, City(city="Oslo"), "parsed from the stream")


@suite.check("structured output of a model that cannot be held to it", server_only=True)
def structured_here(user):
    class City(BaseModel):
        city: str

    # The first is mended without asking, the second by asking once more, the third not at all.
    for prompt in ['[[text=Sure: {"city": "Oslo",}]]', "[[text=Oslo]]"]:
        parsed = client.chat.completions.parse(**request(user, prompt, model=FORMLESS, response_format=City))
        same(parsed.choices[0].message.parsed, City(city="Oslo"), prompt)
        with helper(user, prompt, model=FORMLESS, response_format=City) as answer:
            final = answer.get_final_completion()
        same(final.choices[0].message.parsed, City(city="Oslo"), f"{prompt}, streamed")

    # A server that takes the wish for what it can do, until it is asked: the first answer is judged like any other.
    for _ in range(2):
        prompt = "[[unsupported=response_format]][[text=Oslo]]"
        parsed = client.chat.completions.parse(**request(user, prompt, model="learning", response_format=City))
        same(parsed.choices[0].message.parsed, City(city="Oslo"), prompt)

    class Village(BaseModel):
        village: str

    # The correction that the upstream knows is a city.
    hopeless = {"model": FORMLESS, "response_format": Village}
    raises(openai.APIStatusError, lambda: client.chat.completions.parse(**request(user, "[[text=Oslo]]", **hopeless)))


@suite.check("text of many scripts survives any cut")
def scripts(user):
    # The SDK itself trips over the noise (an empty line once an `id:` has been seen); the server must not.
    noise = "" if DIRECT else "[[noise]]"
    for cut in [1, 3, 7]:
        same(text_of(stream(user, f"[[unicode=6]][[split={cut}]][[crlf]]{noise}")), UNICODE, f"cut every {cut}")
    same(answer_of(ask(user, "[[unicode=6]]")), UNICODE, "non-streaming")


@suite.check("an odd stream of the provider still gives a plain answer")
def odd_streams(user):
    oddities = ["[[wrong_ids]]", "[[usage=every]]", "[[usage=finish]]", "[[no_done]]"]
    oddities += [] if DIRECT else ["[[noise]]"]
    for oddity in oddities:
        same(text_of(stream(user, f"[[chunks=4]]{oddity}")), numbered(4), oddity)


@suite.check("an error before the stream raises with its status")
def errors_before(user):
    failed = raises(openai.InternalServerError, lambda: ask(user, "[[status=500]]"))
    assert failed.status_code >= 500 and failed.message, failed
    raises(openai.APIError, lambda: list(stream(user, "[[status=500]]")))
    limited = raises(openai.APIStatusError, lambda: ask(user, "[[retry_after=1]]"))
    same(limited.status_code, 429, "status")
    assert limited.response.headers.get("retry-after"), "no Retry-After"
    refused = raises(openai.APIStatusError, lambda: ask(user, "[[status=400]]"))
    same(refused.status_code, 400, "status")
    same(text_of(stream(user, "[[chunks=2]]")), numbered(2), "the next turn")


@suite.check("a bad body is refused before any stream", server_only=True)
def bad_body(user):
    for bad in [{"messages": "hello"}, {"messages": [{"role": "wizard", "content": "x"}]}, {"temperature": "warm"}]:
        for streaming in [False, True]:
            call = request(user, "x", stream=streaming, extra_body={**bad, "bot_id": BOT})
            refused = raises(openai.UnprocessableEntityError, lambda: client.chat.completions.create(**call))
            assert refused.response.json().get("detail"), refused.response.text
            # The SDK unwraps OpenAI's `error` member.
            assert refused.body.get("message") and refused.type, refused.body
    raises(openai.BadRequestError, lambda: ask(user, "x", n=2))


@suite.check("an error in mid-stream raises, after the text before it")
def errors_within(user):
    faults = ["[[error=3]]"] if DIRECT else ["[[error=3]]", "[[cut=3]]", "[[end=3]]", "[[garbage=3]]"]
    for fault in faults:
        chunks = []
        failed = raises(openai.APIError, lambda: chunks.extend(stream_into(user, f"[[chunks=9]]{fault}", chunks)))
        same(text_of(chunks), numbered(3), f"text before {fault}")
        assert failed.message, fault
        if not DIRECT:
            same([reason for reason in reasons_of(chunks) if reason != "error"], [], f"finish reasons with {fault}")
    same(text_of(stream(user, "[[chunks=2]]")), numbered(2), "the next turn")


def stream_into(user, prompt, seen):
    """Like `stream`, but what came before an error is kept."""
    for chunk in stream(user, prompt):
        seen.append(chunk)
    return []


@suite.check("an error in mid-stream raises from the stream helper")
def errors_within_helper(user):
    def consume():
        with helper(user, "[[chunks=9]][[error=3]]") as answer:
            pieces.extend(event.delta for event in answer if event.type == "content.delta")

    pieces = []
    raises(openai.APIError, consume)


@suite.check("a broken answer raises without streaming too", server_only=True)
def broken_whole(user):
    for fault in ["[[error=3]]", "[[cut=3]]"]:
        failed = raises(openai.APIStatusError, lambda: ask(user, f"[[chunks=9]]{fault}"))
        assert failed.status_code >= 500, failed.status_code


@suite.check("closing a stream early leaves the client and the server well")
def abort(user):
    for _ in range(3):
        answer = stream(user, "[[chunks=500]][[delay_ms=10]]")
        for chunk in answer:
            if chunk.choices and "t2 " in (chunk.choices[0].delta.content or ""):
                break
        answer.close()
    with helper(user, "[[chunks=500]][[delay_ms=10]]") as answer:
        next(event for event in answer if event.type == "content.delta")
    same(text_of(stream(user, "[[chunks=3]]")), numbered(3), "the next turn")


@suite.check("keep-alives during a slow answer go unnoticed")
def slow(user):
    same(text_of(stream(user, "[[chunks=2]][[first_ms=1200]][[delay_ms=1200]]")), numbered(2), "stream")
    with helper(user, "[[chunks=2]][[headers_ms=1200]]") as answer:
        pieces = [event.delta for event in answer if event.type == "content.delta" and event.delta]
        same(answer_of(answer.get_final_completion()), numbered(2), "helper")
    same(pieces, ["t0 ", "t1 "], "content events")


@suite.check("long thinking shows as patience, not as text")
def thinking(user):
    prompt = "[[reasoning=25]][[delay_ms=50]][[chunks=3]]"
    same(text_of(stream(user, prompt)), numbered(3), "stream")
    same(answer_of(ask(user, prompt)), numbered(3), "non-streaming")


def wire(user, prompt):
    """The lines of a stream as they come."""
    body = {"model": MODEL, "bot_id": BOT, "stream": True, "user": user, "messages": said(prompt)}
    head = {"content-type": "application/json"}
    call = urllib.request.Request(f"{URL}/v1/chat/completions", json.dumps(body).encode(), head)
    with urllib.request.urlopen(call, timeout=30) as response:
        headers = {name.lower(): value for name, value in response.headers.items()}
        assert headers["content-type"].startswith("text/event-stream"), headers
        return headers, response.read().decode()


@suite.check("frames on the wire are ordered, numbered and framed as promised", server_only=True)
def frames(user):
    headers, text = wire(user, "[[chunks=3]][[first_ms=1200]]")
    assert headers.get("x-turn-id") and headers.get("x-accel-buffering") == "no", headers
    assert text.endswith("data: [DONE]\n\n"), text[-200:]
    assert ": keepalive\n" in text, "no keep-alive"
    assert ": keepalive\n\n" not in text, "an empty line behind a keep-alive"
    lines = [line for line in text.splitlines() if line and not line.startswith(":")]
    numbers = [int(line[4:]) for line in lines if line.startswith("id: ")]
    assert numbers == sorted(set(numbers)), numbers
    frames = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    same(len(numbers), len(frames), "numbered frames")
    kinds = [frame["object"] for frame in frames]
    same((kinds[0], kinds[-1]), ("service.turn_metadata", "service.turn_complete"), "first and last")
    same(kinds.count("service.turn_complete"), 1, "turn_complete frames")
    same(frames[-1]["status"], "completed", "status")
    same(frames[0]["turn_id"], headers["x-turn-id"], "turn id")
    assert all(frame["choices"][0]["delta"] == {} for frame in frames if frame["object"].startswith("service."))
    assert not any("error" in frame for frame in frames)


@suite.check("a broken stream on the wire ends without its end marker", server_only=True)
def broken_frames(user):
    _, text = wire(user, "[[chunks=9]][[cut=3]]")
    assert "[DONE]" not in text, text[-300:]
    frames = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    [broken] = [frame for frame in frames if frame.get("error")]
    same(broken["choices"][0]["finish_reason"], "error", "finish reason")
    assert broken["error"]["message"] and broken["error"]["type"], broken
    same((frames[-1]["object"], frames[-1]["status"]), ("service.turn_complete", "error"), "last frame")


@suite.check("service frames can be switched off", server_only=True)
def strict(user):
    own = OpenAI(**SETTINGS, default_headers={"X-Service-Events": "off"})
    chunks = list(own.chat.completions.create(**request(user, "[[chunks=3]]", stream=True)))
    same({chunk.object for chunk in chunks}, {"chat.completion.chunk"}, "objects")
    same(text_of(chunks), numbered(3), "text")


@suite.check("service frames are there and change nothing", server_only=True)
def service_frames(user):
    chunks = list(stream(user, "[[chunks=3]]"))
    kinds = [chunk.object for chunk in chunks]
    assert "service.turn_metadata" in kinds and "service.turn_complete" in kinds, kinds
    same(text_of(chunks), numbered(3), "text")


@suite.check("asynchronous client, eight users at once")
def asynchronous(user):
    async def one(own, number):
        text = ""
        async for chunk in await own.chat.completions.create(
            **request(f"{user}-{number}", f"[[chunks={20 + number}]][[delay_ms=2]]", stream=True)
        ):
            text += text_of([chunk])
        same(text, numbered(20 + number), f"user {number}")

    async def everyone():
        async with AsyncOpenAI(**SETTINGS) as own:
            await asyncio.gather(*(one(own, number) for number in range(8)))

    asyncio.run(everyone())


@suite.check("embeddings as numbers and packed, and the ways in which they are refused", server_only=True)
def embeddings():
    texts = ["the cat sleeps", "a bicycle", "日本語 🙂"]
    # Without `encoding_format` the SDK asks for base64 and unpacks it.
    packed = client.embeddings.create(model="default", input=texts)
    plain = client.embeddings.create(model="default", input=texts, encoding_format="float")
    same((packed.object, [one.index for one in packed.data]), ("list", [0, 1, 2]), "list")
    for ours, theirs in zip(packed.data, plain.data, strict=True):
        same(len(ours.embedding), 384, "dimensions")
        assert max(abs(a - b) for a, b in zip(ours.embedding, theirs.embedding, strict=True)) < 1e-6
        assert abs(sum(number * number for number in ours.embedding) - 1) < 1e-3
    assert packed.usage.total_tokens == packed.usage.prompt_tokens > 0, packed.usage
    single = client.embeddings.create(model=packed.model, input=texts[0], dimensions=384)
    assert max(abs(a - b) for a, b in zip(single.data[0].embedding, plain.data[0].embedding, strict=True)) < 1e-4
    raises(openai.NotFoundError, lambda: client.embeddings.create(model="text-embedding-3-small", input="x"))
    raises(openai.BadRequestError, lambda: client.embeddings.create(model="default", input=[1, 2, 3]))
    raises(openai.BadRequestError, lambda: client.embeddings.create(model="default", input="x", dimensions=64))
    raises(openai.UnprocessableEntityError, lambda: client.embeddings.create(model="default", input=[]))


suite.run()
