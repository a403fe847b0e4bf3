// The contract as the Vercel AI SDK sees it, through its provider for OpenAI-compatible servers. It is the strictest of
// the clients about tools: a call of a tool that it did not offer is an error.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, embedMany, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import {
  BOT, DIRECT, FORMLESS, HANDY, INTERLEAVED, MODEL, NOISE, PIXEL, Suite, UNICODE, URL_BASE, numbered, raised,
} from "./suite.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const suite = new Suite("ai-sdk");
const provider = createOpenAICompatible({
  name: "greenroom",
  baseURL: `${URL_BASE}/v1`,
  apiKey: "contract",
  includeUsage: true,
  supportsStructuredOutputs: true,
});

/** The arguments of a call to the bot by this user. */
const request = (user, prompt, more = {}) => ({
  model: provider(MODEL),
  prompt,
  maxRetries: 0,
  providerOptions: { greenroom: { bot_id: BOT, user } },
  ...more,
});

/** Everything a stream tells, and the errors it would otherwise only log. */
async function streamed(user, prompt, more) {
  const errors = [];
  const result = streamText(request(user, prompt, { onError: ({ error }) => errors.push(error), ...more }));
  const parts = [];
  for await (const part of result.fullStream) parts.push(part);
  const text = parts.filter((part) => part.type === "text-delta").map((part) => part.text).join("");
  const kinds = parts.map((part) => part.type);
  return { parts, text, kinds, errors, finish: parts.findLast((part) => part.type === "finish") };
}

const ORDINARY = new Set(["start", "start-step", "text-start", "text-delta", "text-end", "finish-step", "finish"]);

function weather(asked) {
  return tool({
    description: "Weather in a city",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      asked.push(city);
      return `fine in ${city}`;
    },
  });
}

suite.check("streamText: text, parts, finish reason and usage", async (user) => {
  const { text, kinds, errors, finish } = await streamed(user, "[[chunks=12]]");
  assert.equal(text, numbered(12));
  assert.deepEqual(errors, []);
  assert.deepEqual(kinds.filter((kind) => !ORDINARY.has(kind)), []);
  assert.equal(kinds.filter((kind) => kind === "text-start").length, 1);
  assert.equal(finish.finishReason, "stop");
  assert.equal(finish.totalUsage.outputTokens, 12);
});

suite.check("generateText: text, finish reason and usage", async (user) => {
  const result = await generateText(request(user, "[[chunks=5]]"));
  assert.equal(result.text, numbered(5));
  assert.equal(result.finishReason, "stop");
  assert.ok(result.usage.inputTokens > 0);
  assert.equal(result.usage.outputTokens, 5);
  assert.deepEqual(result.toolCalls, []);
});

suite.check("textStream is the text and nothing else", async (user) => {
  let text = "";
  for await (const piece of streamText(request(user, "[[chunks=9]]")).textStream) text += piece;
  assert.equal(text, numbered(9));
});

suite.check("tool loop, streaming", async (user) => {
  const asked = [];
  const { text, kinds, errors, finish, parts } = await streamed(user, "[[tool]] What is the weather?", {
    tools: { get_weather: weather(asked) },
    stopWhen: stepCountIs(3),
  });
  assert.deepEqual(errors, []);
  assert.deepEqual(asked, ["Oslo"]);
  assert.equal(text, "The tool said: fine in Oslo.");
  assert.equal(kinds.filter((kind) => kind === "tool-call").length, 1);
  assert.equal(kinds.filter((kind) => kind === "tool-result").length, 1);
  assert.deepEqual(
    parts.filter((part) => part.type === "finish-step").map((part) => part.finishReason),
    ["tool-calls", "stop"],
  );
  assert.equal(finish.finishReason, "stop");
});

suite.check("tool loop, not streaming", async (user) => {
  const asked = [];
  const loop = { tools: { get_weather: weather(asked) }, stopWhen: stepCountIs(3) };
  const result = await generateText(request(user, "[[tool]] What is the weather?", loop));
  assert.equal(result.text, "The tool said: fine in Oslo.");
  assert.equal(result.steps.length, 2);
  assert.deepEqual(asked, ["Oslo"]);
});

suite.check("parallel tool calls", async (user) => {
  for (const run of [streamed, async (who, prompt, more) => generateText(request(who, prompt, more))]) {
    const asked = [];
    const { text } = await run(user, `[[parallel]]${INTERLEAVED} Weather in two cities?`, {
      tools: { get_weather: weather(asked) },
      stopWhen: stepCountIs(3),
    });
    assert.deepEqual(asked.toSorted(), ["Lima", "Oslo"]);
    assert.equal(text, "The tool said: fine in Oslo, fine in Lima.");
  }
});

const handy = (user) => ({ providerOptions: { greenroom: { bot_id: HANDY, user } } });

suite.check(
  "a turn in which the bot used its tools is plain text",
  async (user) => {
    const prompt = "[[tool=time]][[args={}]] What time is it?";
    const { text, kinds, errors, finish } = await streamed(user, prompt, handy(user));
    assert.deepEqual(errors, []);
    assert.ok(text.startsWith("The tool said: ") && text.includes("UTC"), text);
    assert.deepEqual(kinds.filter((kind) => !ORDINARY.has(kind)), []);
    assert.equal(finish.finishReason, "stop");
    const result = await generateText(request(user, prompt, handy(user)));
    assert.ok(result.text.startsWith("The tool said: "), result.text);
    assert.deepEqual([result.finishReason, result.toolCalls, result.steps.length], ["stop", [], 1]);
  },
  { serverOnly: true },
);

suite.check(
  "tools of the bot and of the client in one batch",
  async (user) => {
    const prompt = "[[tool=time]][[args={}]][[also=get_weather]] Time and weather?";
    for (const run of [streamed, async (who, asking, more) => generateText(request(who, asking, more))]) {
      const asked = [];
      const loop = { tools: { get_weather: weather(asked) }, stopWhen: stepCountIs(3), ...handy(user) };
      const { text } = await run(user, prompt, loop);
      assert.deepEqual(asked, ["Oslo"]);
      assert.ok(text.startsWith("The tool said: ") && text.endsWith(", fine in Oslo."), text);
    }
  },
  { serverOnly: true },
);

suite.check("images reach the model", async (user) => {
  const messages = [
    {
      role: "user",
      content: [
        { type: "text", text: "[[echo_parts]] What is this?" },
        { type: "image", image: PIXEL },
        { type: "image", image: Buffer.from(PIXEL.split(",")[1], "base64"), mediaType: "image/png" },
      ],
    },
  ];
  const asked = { prompt: undefined, messages };
  assert.equal((await generateText(request(user, undefined, asked))).text, "images: 2");
  assert.equal((await streamed(user, undefined, asked)).text, "images: 2");
});

suite.check("structured output is parsed", async (user) => {
  const output = Output.object({ schema: z.object({ city: z.string() }) });
  const result = await generateText(request(user, '[[text={"city":"Oslo"}]]', { output }));
  assert.deepEqual(result.output, { city: "Oslo" });
});

suite.check(
  "structured output of a model that cannot be held to it",
  async (user) => {
    const output = Output.object({ schema: z.object({ city: z.string() }) });
    const asking = request(user, "[[text=Oslo]]", { output, model: provider(FORMLESS) });
    assert.deepEqual((await generateText(asking)).output, { city: "Oslo" });
    assert.deepEqual(await streamText(asking).output, { city: "Oslo" });
  },
  { serverOnly: true },
);

suite.check("finish reasons of the model are passed on", async (user) => {
  assert.equal((await streamed(user, "[[chunks=3]][[finish=length]]")).finish.finishReason, "length");
  assert.equal((await streamed(user, "[[chunks=3]][[finish=content_filter]]")).finish.finishReason, "content-filter");
});

suite.check("text of many scripts survives any cut", async (user) => {
  for (const cut of [1, 3, 7]) {
    const { text, errors } = await streamed(user, `[[unicode=6]][[split=${cut}]][[crlf]]${NOISE}`);
    assert.equal(text, UNICODE);
    assert.deepEqual(errors, []);
  }
});

suite.check("an error before the stream raises with its status", async (user) => {
  const failed = await raised(() => generateText(request(user, "[[status=500]]")));
  assert.ok(failed.statusCode >= 500, String(failed));
  assert.ok(failed.message.length > 0);
  const { errors, text } = await streamed(user, "[[status=500]]");
  assert.equal(errors.length, 1);
  assert.equal(text, "");
  const limited = await raised(() => generateText(request(user, "[[retry_after=1]]")));
  assert.equal(limited.statusCode, 429);
  assert.ok(limited.isRetryable);
});

suite.check(
  "a bad body is refused with a readable message",
  async (user) => {
    const refused = await raised(() => generateText(request(user, "x", { temperature: 99 })));
    assert.equal(refused.statusCode, 422);
    assert.ok(refused.message.length > 0 && refused.data?.error?.message, refused.responseBody);
  },
  { serverOnly: true },
);

suite.check("an error in mid-stream is an error, after the text before it", async (user) => {
  for (const fault of DIRECT ? ["[[error=3]]"] : ["[[error=3]]", "[[cut=3]]", "[[end=3]]", "[[garbage=3]]"]) {
    const { text, errors, kinds, finish } = await streamed(user, `[[chunks=9]]${fault}`);
    assert.equal(text, numbered(3), fault);
    assert.ok(errors.length >= 1, `${fault}: no error`);
    assert.ok(kinds.includes("error"), fault);
    assert.notEqual(finish?.finishReason, "stop", fault);
  }
  assert.equal((await streamed(user, "[[chunks=2]]")).text, numbered(2));
});

suite.check("abort by signal leaves the client and the server well", async (user) => {
  const abort = new AbortController();
  const result = streamText(request(user, "[[chunks=500]][[delay_ms=10]]", { abortSignal: abort.signal }));
  const kinds = [];
  for await (const part of result.fullStream) {
    kinds.push(part.type);
    if (part.type === "text-delta" && part.text.includes("t2 ")) abort.abort();
  }
  assert.ok(kinds.includes("abort"), kinds.join());
  assert.equal((await streamed(user, "[[chunks=3]]")).text, numbered(3));
});

suite.check("keep-alives and long thinking go unnoticed", async (user) => {
  const slow = await streamed(user, "[[chunks=2]][[first_ms=1200]][[delay_ms=1200]]");
  assert.equal(slow.text, numbered(2));
  assert.deepEqual(slow.kinds.filter((kind) => !ORDINARY.has(kind)), []);
  const thought = await streamed(user, "[[reasoning=25]][[delay_ms=50]][[chunks=3]]");
  assert.equal(thought.text, numbered(3));
  assert.deepEqual(thought.errors, []);
});

suite.check(
  "embeddings of many texts",
  async () => {
    const model = provider.textEmbeddingModel("default");
    const { embeddings, usage } = await embedMany({ model, values: ["the cat sleeps", "a bicycle"], maxRetries: 0 });
    assert.deepEqual(embeddings.map((embedding) => embedding.length), [384, 384]);
    assert.ok(usage.tokens > 0);
  },
  { serverOnly: true },
);

await suite.run();
