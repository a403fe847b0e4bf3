// The contract as the official Node SDK sees it: a turn with service frames, event ids and keep-alives must look like a
// plain OpenAI answer, and a broken one like an error. Prompts carry [[markers]] that direct the scripted upstream.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import {
  BOT, DIRECT, FORMLESS, HANDY, INTERLEAVED, MODEL, NOISE, PIXEL, Suite, UNICODE, URL_BASE, WEATHER_PARAMETERS, numbered, raised, wire,
} from "./suite.mjs";

const suite = new Suite("openai-node");
const settings = { baseURL: `${URL_BASE}/v1`, apiKey: "contract", maxRetries: 0, timeout: 30_000 };
const client = new OpenAI(settings);
const weather = { name: "get_weather", description: "Weather in a city", parameters: WEATHER_PARAMETERS };
const tools = [{ type: "function", function: { ...weather, strict: true } }];

const said = (prompt) => [{ role: "user", content: prompt }];
const request = (user, prompt, more = {}) => ({
  model: MODEL,
  messages: typeof prompt === "string" ? said(prompt) : prompt,
  user,
  bot_id: BOT,
  ...more,
});
const ask = (user, prompt, more) => client.chat.completions.create(request(user, prompt, more));
const stream = (user, prompt, more) => client.chat.completions.create(request(user, prompt, { ...more, stream: true }));
const answerOf = (completion) => completion.choices[0].message.content;

async function collected(chunks) {
  const all = [];
  for await (const chunk of await chunks) all.push(chunk);
  return all;
}
const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join("");
const reasonsOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.finish_reason).filter(Boolean);

suite.check("models are listed and one is retrieved", async () => {
  const listed = await collected(client.models.list());
  assert.ok(listed.some((model) => model.id === MODEL), JSON.stringify(listed.map((model) => model.id)));
  for (const model of listed) {
    assert.equal(model.object, "model");
    assert.ok(Number.isInteger(model.created) && typeof model.owned_by === "string", JSON.stringify(model));
  }
  assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
  assert.ok((await raised(() => client.models.retrieve("no-such-model"))) instanceof OpenAI.NotFoundError);
});

suite.check("plain stream", async (user) => {
  const chunks = await collected(stream(user, "[[chunks=12]]"));
  assert.equal(textOf(chunks), numbered(12));
  assert.deepEqual(reasonsOf(chunks), ["stop"]);
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
  assert.deepEqual(chunks.map((chunk) => chunk.choices[0].delta.role).filter(Boolean), ["assistant"]);
  for (const chunk of chunks) {
    assert.equal(chunk.choices[0].index, 0);
    assert.equal(chunk.choices[0].delta.tool_calls, undefined);
  }
});

suite.check("stream helper: events and final completion", async (user) => {
  const seen = { content: [], other: [] };
  const runner = client.chat.completions.stream(request(user, "[[chunks=7]]"));
  runner.on("content", (piece) => piece && seen.content.push(piece));
  for (const event of ["tool_calls.function.arguments.delta", "tool_calls.function.arguments.done", "refusal.delta"]) {
    runner.on(event, () => seen.other.push(event));
  }
  const final = await runner.finalChatCompletion();
  assert.equal(seen.content.join(""), numbered(7));
  assert.equal(seen.content.length, 7);
  assert.deepEqual(seen.other, []);
  assert.equal(answerOf(final), numbered(7));
  assert.equal(final.choices[0].finish_reason, "stop");
  assert.equal(final.choices[0].message.tool_calls, undefined);
  assert.equal(await runner.finalContent(), numbered(7));
});

suite.check("non-streaming", async (user) => {
  const whole = await ask(user, "[[chunks=5]]");
  assert.equal(whole.object, "chat.completion");
  assert.match(whole.id, /^chatcmpl-/);
  assert.equal(answerOf(whole), numbered(5));
  assert.equal(whole.choices[0].finish_reason, "stop");
  assert.ok(whole.usage.prompt_tokens > 0 && whole.usage.completion_tokens > 0);
  assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);
});

suite.check("usage stands in the last chunk when asked for", async (user) => {
  const include = { stream_options: { include_usage: true } };
  const chunks = await collected(stream(user, "[[chunks=5]]", include));
  const withUsage = chunks.filter((chunk) => chunk.usage);
  assert.equal(withUsage.length, 1);
  assert.deepEqual(withUsage[0].choices, []);
  assert.equal(withUsage[0].usage.completion_tokens, 5);
  assert.equal(textOf(chunks), numbered(5));
  const runner = client.chat.completions.stream(request(user, "[[chunks=5]]", include));
  assert.equal((await runner.totalUsage()).completion_tokens, 5);
});

suite.check("client tools, non-streaming, with the continuation", async (user) => {
  const messages = said("[[tool]] What is the weather?");
  const first = await ask(user, messages, { tools });
  assert.equal(first.choices[0].finish_reason, "tool_calls");
  const [call] = first.choices[0].message.tool_calls;
  assert.deepEqual([call.function.name, JSON.parse(call.function.arguments)], ["get_weather", { city: "Oslo" }]);
  messages.push(first.choices[0].message, { role: "tool", tool_call_id: call.id, content: "12 degrees" });
  assert.equal(answerOf(await ask(user, messages, { tools })), "The tool said: 12 degrees.");
});

suite.check("client tools by the stream helper, with the continuation", async (user) => {
  const messages = said("[[tool]] What is the weather?");
  const done = [];
  const runner = client.chat.completions.stream(request(user, messages, { tools }));
  runner.on("tool_calls.function.arguments.done", (event) => done.push([event.name, event.arguments]));
  const first = await runner.finalChatCompletion();
  assert.deepEqual(done, [["get_weather", '{"city":"Oslo"}']]);
  assert.equal(first.choices[0].finish_reason, "tool_calls");
  const [call] = first.choices[0].message.tool_calls;
  assert.deepEqual(call.function.parsed_arguments, { city: "Oslo" });
  messages.push(first.choices[0].message, { role: "tool", tool_call_id: call.id, content: "12 degrees" });
  assert.equal(textOf(await collected(stream(user, messages, { tools }))), "The tool said: 12 degrees.");
});

suite.check("the SDK's own tool loop, streaming and not", async (user) => {
  const asked = [];
  const own = {
    type: "function",
    function: {
      ...weather,
      parse: JSON.parse,
      function: ({ city }) => {
        asked.push(city);
        return `fine in ${city}`;
      },
    },
  };
  for (const streaming of [true, false]) {
    const asking = request(user, "[[tool]] Weather?", { tools: [own], stream: streaming });
    const runner = client.chat.completions.runTools(asking);
    assert.equal(await runner.finalContent(), "The tool said: fine in Oslo.");
  }
  assert.deepEqual(asked, ["Oslo", "Oslo"]);
});

suite.check("parallel tool calls, streaming and not", async (user) => {
  const messages = said(`[[parallel]]${INTERLEAVED} Weather in two cities?`);
  const cities = [{ city: "Oslo" }, { city: "Lima" }];
  const final = await client.chat.completions.stream(request(user, messages, { tools })).finalChatCompletion();
  const streamed = final.choices[0].message.tool_calls;
  assert.deepEqual(streamed.map((call) => JSON.parse(call.function.arguments)), cities);
  assert.equal(new Set(streamed.map((call) => call.id)).size, 2);
  const { message } = (await ask(user, messages, { tools })).choices[0];
  assert.deepEqual(message.tool_calls.map((call) => JSON.parse(call.function.arguments)), cities);
  const ids = message.tool_calls.map((call) => call.id);
  const results = ["rain", "sun"].map((content, index) => ({ role: "tool", tool_call_id: ids[index], content }));
  assert.equal(answerOf(await ask(user, [...messages, message, ...results], { tools })), "The tool said: rain, sun.");
});

const ownTool = "[[tool=time]][[args={}]] What time is it?";
const hand = { bot_id: HANDY };

suite.check(
  "a turn in which the bot used its tools is plain text",
  async (user) => {
    const chunks = await collected(stream(user, ownTool, hand));
    assert.ok(chunks.some((chunk) => chunk.object === "service.tool_call"));
    assert.ok(textOf(chunks).startsWith("The tool said: ") && textOf(chunks).includes("UTC"), textOf(chunks));
    assert.deepEqual(reasonsOf(chunks), ["stop"]);
    assert.ok(chunks.every((chunk) => !chunk.choices[0]?.delta?.tool_calls));
    const runner = client.chat.completions.stream(request(user, ownTool, hand));
    runner.on("tool_calls.function.arguments.done", () => assert.fail("a call that is none of the client's"));
    for (const whole of [await runner.finalChatCompletion(), await ask(user, ownTool, hand)]) {
      assert.ok(answerOf(whole).startsWith("The tool said: "), JSON.stringify(whole));
      assert.deepEqual([whole.choices[0].finish_reason, whole.choices[0].message.tool_calls ?? []], ["stop", []]);
    }
  },
  { serverOnly: true },
);

suite.check(
  "tools of the bot and of the client in one batch, by the SDK's own tool loop",
  async (user) => {
    const asked = [];
    const own = {
      type: "function",
      function: { ...weather, parse: JSON.parse, function: ({ city }) => (asked.push(city), "12 degrees") },
    };
    for (const streaming of [true, false]) {
      const prompt = "[[tool=time]][[args={}]][[also=get_weather]] Time and weather?";
      const asking = request(user, prompt, { tools: [own], stream: streaming, ...hand });
      const text = await client.chat.completions.runTools(asking).finalContent();
      assert.ok(text.startsWith("The tool said: ") && text.includes("UTC") && text.endsWith(", 12 degrees."), text);
    }
    assert.deepEqual(asked, ["Oslo", "Oslo"]);
  },
  { serverOnly: true },
);

suite.check("images reach the model", async (user) => {
  const image = { type: "image_url", image_url: { url: PIXEL } };
  const messages = [{ role: "user", content: [{ type: "text", text: "[[echo_parts]] What is this?" }, image, image] }];
  assert.equal(answerOf(await ask(user, messages)), "images: 2");
  assert.equal(textOf(await collected(stream(user, messages))), "images: 2");
});

suite.check("sampling parameters and finish reasons pass through", async (user) => {
  assert.equal(answerOf(await ask(user, "[[echo_field=temperature]]", { temperature: 0.25 })), "0.25");
  for (const reason of ["length", "content_filter"]) {
    assert.deepEqual(reasonsOf(await collected(stream(user, `[[chunks=3]][[finish=${reason}]]`))), [reason]);
    assert.equal((await ask(user, `[[chunks=3]][[finish=${reason}]]`)).choices[0].finish_reason, reason);
  }
});

suite.check("structured output is parsed", async (user) => {
  const response_format = zodResponseFormat(z.object({ city: z.string() }), "city");
  const parsed = await client.chat.completions.parse(request(user, '[[text={"city":"Oslo"}]]', { response_format }));
  assert.deepEqual(parsed.choices[0].message.parsed, { city: "Oslo" });
  const runner = client.chat.completions.stream(request(user, '[[text={"city":"Oslo"}]]', { response_format }));
  assert.deepEqual((await runner.finalChatCompletion()).choices[0].message.parsed, { city: "Oslo" });
});

suite.check(
  "structured output of a model that cannot be held to it",
  async (user) => {
    const response_format = zodResponseFormat(z.object({ city: z.string() }), "city");
    const wanted = { response_format, model: FORMLESS };
    for (const prompt of ['[[text=Sure: {"city": "Oslo",}]]', "[[text=Oslo]]"]) {
      const parsed = await client.chat.completions.parse(request(user, prompt, wanted));
      assert.deepEqual(parsed.choices[0].message.parsed, { city: "Oslo" }, prompt);
      const runner = client.chat.completions.stream(request(user, prompt, wanted));
      assert.deepEqual((await runner.finalChatCompletion()).choices[0].message.parsed, { city: "Oslo" }, prompt);
    }
  },
  { serverOnly: true },
);

suite.check("text of many scripts survives any cut", async (user) => {
  for (const cut of [1, 3, 7]) {
    const chunks = await collected(stream(user, `[[unicode=6]][[split=${cut}]][[crlf]]${NOISE}`));
    assert.equal(textOf(chunks), UNICODE);
  }
});

suite.check("an odd stream of the provider still gives a plain answer", async (user) => {
  for (const oddity of ["[[wrong_ids]]", "[[usage=every]]", "[[usage=finish]]", "[[no_done]]", NOISE]) {
    const chunks = await collected(stream(user, `[[chunks=4]]${oddity}`));
    assert.equal(textOf(chunks), numbered(4), oddity);
  }
});

suite.check("an error before the stream raises with its status", async (user) => {
  const failed = await raised(() => ask(user, "[[status=500]]"));
  assert.ok(failed instanceof OpenAI.InternalServerError && failed.status >= 500, String(failed));
  assert.ok((await raised(() => collected(stream(user, "[[status=500]]")))) instanceof OpenAI.APIError);
  const limited = await raised(() => ask(user, "[[retry_after=1]]"));
  assert.ok(limited instanceof OpenAI.RateLimitError, String(limited));
  assert.ok(limited.headers.get("retry-after"));
  assert.ok((await raised(() => ask(user, "[[status=400]]"))) instanceof OpenAI.BadRequestError);
  assert.equal(textOf(await collected(stream(user, "[[chunks=2]]"))), numbered(2));
});

suite.check(
  "a bad body is refused before any stream",
  async (user) => {
    const wizard = [{ role: "wizard", content: "x" }];
    for (const bad of [{ messages: "hello" }, { messages: wizard }, { temperature: "warm" }]) {
      for (const streaming of [true, false]) {
        const refused = await raised(() => ask(user, "x", { ...bad, stream: streaming }));
        assert.ok(refused instanceof OpenAI.UnprocessableEntityError, String(refused));
        assert.ok(refused.error?.message && refused.type, JSON.stringify(refused.error));
      }
    }
  },
  { serverOnly: true },
);

suite.check("an error in mid-stream raises, after the text before it", async (user) => {
  for (const fault of DIRECT ? ["[[error=3]]"] : ["[[error=3]]", "[[cut=3]]", "[[end=3]]", "[[garbage=3]]"]) {
    const chunks = [];
    const failed = await raised(async () => {
      for await (const chunk of await stream(user, `[[chunks=9]]${fault}`)) chunks.push(chunk);
    });
    assert.ok(failed instanceof OpenAI.APIError, `${fault}: ${failed}`);
    assert.equal(textOf(chunks), numbered(3), fault);
    assert.deepEqual(reasonsOf(chunks).filter((reason) => reason !== "error"), [], fault);
    const runner = client.chat.completions.stream(request(user, `[[chunks=9]]${fault}`));
    assert.ok((await raised(() => runner.finalChatCompletion())) instanceof OpenAI.OpenAIError, fault);
  }
  assert.equal(textOf(await collected(stream(user, "[[chunks=2]]"))), numbered(2));
});

suite.check("leaving a stream early leaves the client and the server well", async (user) => {
  for (const leave of ["break", "abort"]) {
    const answer = await stream(user, "[[chunks=500]][[delay_ms=10]]");
    let seen = "";
    for await (const chunk of answer) {
      seen += chunk.choices[0]?.delta?.content ?? "";
      if (!seen.includes("t2 ")) continue;
      if (leave === "break") break;
      answer.controller.abort();
    }
    assert.ok(seen.startsWith(numbered(3)), seen);
  }
  const runner = client.chat.completions.stream(request(user, "[[chunks=500]][[delay_ms=10]]"));
  runner.on("content", () => runner.abort());
  assert.ok((await raised(() => runner.done())) instanceof OpenAI.APIUserAbortError);
  assert.equal(textOf(await collected(stream(user, "[[chunks=3]]"))), numbered(3));
});

suite.check("keep-alives and long thinking go unnoticed", async (user) => {
  const slow = await collected(stream(user, "[[chunks=2]][[first_ms=1200]][[delay_ms=1200]]"));
  assert.equal(textOf(slow), numbered(2));
  const runner = client.chat.completions.stream(request(user, "[[chunks=2]][[headers_ms=1200]]"));
  assert.equal(await runner.finalContent(), numbered(2));
  const thought = await collected(stream(user, "[[reasoning=25]][[delay_ms=50]][[chunks=3]]"));
  assert.equal(textOf(thought), numbered(3));
});

suite.check(
  "service frames, ids and keep-alives are there and change nothing",
  async (user) => {
    const { headers, text } = await wire(user, "[[chunks=2]][[delay_ms=1200]]");
    assert.ok(headers.get("x-turn-id"));
    assert.ok(text.endsWith("data: [DONE]\n\n"), text);
    assert.ok(text.includes(": keepalive\n") && !text.includes(": keepalive\n\n"), text);
    assert.match(text, /^id: \d+$/m);
    const chunks = await collected(stream(user, "[[chunks=3]]"));
    const kinds = chunks.map((chunk) => chunk.object);
    assert.ok(kinds.includes("service.turn_metadata") && kinds.includes("service.turn_complete"), kinds.join());
    assert.equal(textOf(chunks), numbered(3));
  },
  { serverOnly: true },
);

suite.check("eight users at once", async (user) => {
  await Promise.all(
    Array.from({ length: 8 }, async (_, number) => {
      const chunks = await collected(stream(`${user}-${number}`, `[[chunks=${20 + number}]][[delay_ms=2]]`));
      assert.equal(textOf(chunks), numbered(20 + number));
    }),
  );
});

suite.check(
  "embeddings as numbers and packed",
  async () => {
    const input = ["the cat sleeps", "a bicycle"];
    const packed = await client.embeddings.create({ model: "default", input });
    const plain = await client.embeddings.create({ model: "default", input, encoding_format: "float" });
    assert.deepEqual(packed.data.map((one) => [one.index, one.embedding.length]), [[0, 384], [1, 384]]);
    packed.data.forEach((one, index) =>
      one.embedding.forEach((number, at) => assert.ok(Math.abs(number - plain.data[index].embedding[at]) < 1e-6)),
    );
    assert.ok(packed.usage.total_tokens > 0);
    const refused = await raised(() => client.embeddings.create({ model: "text-embedding-3-small", input: "x" }));
    assert.ok(refused instanceof OpenAI.NotFoundError);
  },
  { serverOnly: true },
);

await suite.run();
