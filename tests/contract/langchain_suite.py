"""The contract as LangChain's `ChatOpenAI` sees it: chunks add up to one message, with the right text, calls and usage.

LangChain merges every chunk of a stream, so a stray finish reason, call or usage anywhere shows in the sum.
"""

import asyncio

from suite import BOT, DIRECT, FORMLESS, HANDY, MODEL, PIXEL, UNICODE, URL, Suite, numbered, raises, same

import openai
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

suite = Suite("langchain-openai")


def model(user, **more):
    """The chat model of one user."""
    settings = {"model": MODEL, "base_url": f"{URL}/v1", "api_key": "contract", "max_retries": 0, "timeout": 30}
    body = {"bot_id": BOT, "user": user}
    return ChatOpenAI(**{**settings, "stream_usage": True, "use_responses_api": False, "extra_body": body, **more})


@tool
def get_weather(city: str) -> str:
    """Weather in a city."""
    return f"fine in {city}"


def added(chunks):
    """One message out of all chunks."""
    whole = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


@suite.check("invoke")
def invoke(user):
    answer = model(user).invoke("[[chunks=5]]")
    same(answer.content, numbered(5), "text")
    same(answer.response_metadata["finish_reason"], "stop", "finish reason")
    same(answer.usage_metadata["output_tokens"], 5, "output tokens")
    same(answer.tool_calls, [], "tool calls")


@suite.check("stream: chunks add up")
def stream(user):
    whole = added(model(user).stream("[[chunks=12]]"))
    same(whole.content, numbered(12), "text")
    same(whole.response_metadata["finish_reason"], "stop", "finish reason")
    same((whole.tool_calls, whole.tool_call_chunks, whole.invalid_tool_calls), ([], [], []), "tool calls")
    # Counted once: the sum would show any second usage in the stream.
    same(whole.usage_metadata["output_tokens"], 12, "output tokens")
    usage = whole.usage_metadata
    same(usage["total_tokens"], usage["input_tokens"] + usage["output_tokens"], "total tokens")


@suite.check("stream without usage")
def stream_without_usage(user):
    whole = added(model(user, stream_usage=False).stream("[[chunks=3]]"))
    same(whole.content, numbered(3), "text")
    same(whole.usage_metadata, None, "usage")


@suite.check("asynchronous stream, eight users at once")
def asynchronous(user):
    async def one(number):
        chunks = [chunk async for chunk in model(f"{user}-{number}").astream(f"[[chunks={20 + number}]][[delay_ms=2]]")]
        same(added(chunks).content, numbered(20 + number), f"user {number}")

    async def everyone():
        await asyncio.gather(*(one(number) for number in range(8)))

    asyncio.run(everyone())


@suite.check("a system message and a conversation are taken")
def conversation(user):
    messages = [SystemMessage("Be brief."), HumanMessage("Hello."), HumanMessage("[[chunks=3]]")]
    same(model(user).invoke(messages).content, numbered(3), "text")


def finished(user, asked, call_message):
    """Executes the calls and returns the messages of the continuation."""
    calls = call_message.tool_calls
    results = [ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in calls]
    return [HumanMessage(asked), call_message, *results]


@suite.check("client tools, whole and streamed, with the continuation")
def tools(user):
    asked = "[[tool]] What is the weather?"
    chat = model(user).bind_tools([get_weather])
    for call_message in [chat.invoke(asked), added(chat.stream(asked))]:
        [call] = call_message.tool_calls
        same((call["name"], call["args"]), ("get_weather", {"city": "Oslo"}), "call")
        same(call_message.invalid_tool_calls, [], "invalid calls")
        same(call_message.response_metadata["finish_reason"], "tool_calls", "finish reason")
        messages = finished(user, asked, call_message)
        same(chat.invoke(messages).content, "The tool said: fine in Oslo.", "answer")
        same(added(chat.stream(messages)).content, "The tool said: fine in Oslo.", "streamed answer")


@suite.check("parallel tool calls")
def parallel(user):
    asked = "[[parallel]][[interleaved]] Weather in two cities?"
    chat = model(user).bind_tools([get_weather])
    for call_message in [chat.invoke(asked), added(chat.stream(asked))]:
        same([call["args"] for call in call_message.tool_calls], [{"city": "Oslo"}, {"city": "Lima"}], "calls")
        messages = finished(user, asked, call_message)
        same(chat.invoke(messages).content, "The tool said: fine in Oslo, fine in Lima.", "answer")


def handy(user):
    """The chat model of one user, with the bot that has tools of its own."""
    return model(user, extra_body={"bot_id": HANDY, "user": user})


@suite.check("a turn in which the bot used its tools is plain text", server_only=True)
def own_tools(user):
    asked = "[[tool=time]][[args={}]] What time is it?"
    for answer in [handy(user).invoke(asked), added(handy(user).stream(asked))]:
        assert answer.content.startswith("The tool said: ") and "UTC" in answer.content, answer.content
        same((answer.tool_calls, answer.invalid_tool_calls), ([], []), "tool calls")
        same(answer.response_metadata["finish_reason"], "stop", "finish reason")


@suite.check("tools of the bot and of the client in one batch", server_only=True)
def both_kinds(user):
    asked = "[[tool=time]][[args={}]][[also=get_weather]] Time and weather?"
    chat = handy(user).bind_tools([get_weather])
    for call_message in [chat.invoke(asked), added(chat.stream(asked))]:
        same([call["name"] for call in call_message.tool_calls], ["get_weather"], "calls")
        text = chat.invoke(finished(user, asked, call_message)).content
        assert text.startswith("The tool said: ") and "UTC" in text and text.endswith(", fine in Oslo."), text


@suite.check("images reach the model")
def images(user):
    image = {"type": "image_url", "image_url": {"url": PIXEL}}
    asked = [HumanMessage([{"type": "text", "text": "[[echo_parts]]"}, image, image])]
    same(model(user).invoke(asked).content, "images: 2", "whole")
    same(added(model(user).stream(asked)).content, "images: 2", "streamed")


@suite.check("structured output is parsed")
def structured(user):
    class City(BaseModel):
        city: str

    chat = model(user).with_structured_output(City, method="json_schema")
    same(chat.invoke('[[text={"city":"Oslo"}]]'), City(city="Oslo"), "parsed")
    called = model(user).with_structured_output(City, method="function_calling")
    same(called.invoke("[[tool]]"), City(city="Oslo"), "by a call")


@suite.check("structured output of a model that cannot be held to it", server_only=True)
def structured_here(user):
    class City(BaseModel):
        city: str

    chat = model(user, model=FORMLESS).with_structured_output(City, method="json_schema")
    same(chat.invoke("[[text=Oslo]]"), City(city="Oslo"), "parsed")


@suite.check("finish reason length is passed on")
def finish_reason(user):
    same(model(user).invoke("[[chunks=3]][[finish=length]]").response_metadata["finish_reason"], "length", "whole")
    whole = added(model(user).stream("[[chunks=3]][[finish=length]]"))
    same(whole.response_metadata["finish_reason"], "length", "streamed")


@suite.check("text of many scripts survives any cut")
def scripts(user):
    # The SDK below LangChain trips over the noise by itself; behind the server it must not matter.
    noise = "" if DIRECT else "[[noise]]"
    for cut in [1, 3, 7]:
        same(added(model(user).stream(f"[[unicode=6]][[split={cut}]][[crlf]]{noise}")).content, UNICODE, f"every {cut}")


@suite.check("an error before the stream raises with its status")
def errors_before(user):
    failed = raises(openai.APIStatusError, lambda: model(user).invoke("[[status=500]]"))
    assert failed.status_code >= 500, failed.status_code
    raises(openai.APIError, lambda: list(model(user).stream("[[status=500]]")))
    same(raises(openai.APIStatusError, lambda: model(user).invoke("[[retry_after=1]]")).status_code, 429, "status")


@suite.check("a bad body is refused", server_only=True)
def bad_body(user):
    raises(openai.UnprocessableEntityError, lambda: model(user, temperature=99).invoke("x"))


@suite.check("an error in mid-stream raises, after the text before it")
def errors_within(user):
    def consume(fault):
        for chunk in model(user).stream(f"[[chunks=9]]{fault}"):
            seen.append(chunk.content)

    for fault in ["[[error=3]]"] if DIRECT else ["[[error=3]]", "[[cut=3]]", "[[end=3]]", "[[garbage=3]]"]:
        seen = []
        raises(Exception, lambda: consume(fault))
        same("".join(seen), numbered(3), f"text before {fault}")
    same(added(model(user).stream("[[chunks=2]]")).content, numbered(2), "the next turn")


@suite.check("closing a stream early leaves the client and the server well")
def abort(user):
    answer = model(user).stream("[[chunks=500]][[delay_ms=10]]")
    for chunk in answer:
        if "t2 " in chunk.content:
            break
    answer.close()
    same(added(model(user).stream("[[chunks=3]]")).content, numbered(3), "the next turn")


@suite.check("keep-alives and long thinking go unnoticed")
def slow(user):
    same(added(model(user).stream("[[chunks=2]][[first_ms=1200]][[delay_ms=1200]]")).content, numbered(2), "slow")
    thought = added(model(user).stream("[[reasoning=25]][[delay_ms=50]][[chunks=3]]"))
    same(thought.content, numbered(3), "after thinking")


@suite.check("OpenAIEmbeddings: documents and a query", server_only=True)
def embeddings():
    # Token ids, which it sends otherwise, are of another model's vocabulary.
    settings = {"base_url": f"{URL}/v1", "api_key": "contract", "max_retries": 0, "timeout": 30}
    embedder = OpenAIEmbeddings(model="default", check_embedding_ctx_length=False, **settings)
    documents = embedder.embed_documents(["the cat sleeps", "a bicycle"])
    same([len(vector) for vector in documents], [384, 384], "dimensions")
    query = embedder.embed_query("a bicycle")
    assert max(abs(a - b) for a, b in zip(query, documents[1], strict=True)) < 1e-4


suite.run()
