// What the Node suites share: where the server is, how a check is named, how a run ends. The same rules and the same
// environment as suite.py: one line a check, the first failure ends the run, the last line is `N passed, M failed`.

import assert from "node:assert/strict";

export const URL_BASE = (process.env.GREENROOM_URL ?? "http://127.0.0.1:8642").replace(/\/+$/, "");
export const DIRECT = process.env.CONTRACT_DIRECT === "1";
export const MODEL = "scripted";
/** The same without function calling and without response_format. */
export const FORMLESS = "formless";
export const BOT = "spark";
/** A bot that has tools of its own. */
export const HANDY = "handy";
const LIMIT_MS = 180_000;
const RUN = Date.now().toString(16);

/** A 1x1 PNG. */
export const PIXEL =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk" +
  "YPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

/** The text of the marker [[chunks=count]]. */
export const numbered = (count) => Array.from({ length: count }, (_, index) => `t${index} `).join("");

/** The text of [[unicode=6]]. */
export const UNICODE = "größer naïve—日本語👩‍👩‍👧‍👦 𝄞\nשלום\t";

/** Habits of a provider that some clients trip over by themselves; behind the server they must not matter. */
export const NOISE = DIRECT ? "" : "[[noise]]";
export const INTERLEAVED = DIRECT ? "" : "[[interleaved]]";

/** The JSON schema of the weather tool's arguments. */
export const WEATHER_PARAMETERS = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};

/** The error that the action ends with; fails when it ends well. */
export async function raised(action) {
  try {
    await action();
  } catch (error) {
    return error;
  }
  assert.fail("nothing was raised");
}

/** Runs `fetch`-like reading of a raw stream and returns headers and text. */
export async function wire(user, prompt, headers = {}) {
  const body = { model: MODEL, bot_id: BOT, stream: true, user, messages: [{ role: "user", content: prompt }] };
  const response = await fetch(`${URL_BASE}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  assert.equal(response.status, 200);
  return { headers: response.headers, text: await response.text() };
}

/** Collects checks in order of definition and runs them. */
export class Suite {
  #checks = [];

  constructor(name) {
    this.name = name;
  }

  /** A named check; it is given its own user id. */
  check(title, action, { serverOnly = false } = {}) {
    this.#checks.push({ title, action, serverOnly });
  }

  /** Runs everything and ends the process. */
  async run() {
    const guard = setTimeout(() => {
      console.log(`FAIL ${this.name}: hangs`);
      process.exit(1);
    }, LIMIT_MS);
    // An error that nobody waited for is a failure like any other.
    process.on("unhandledRejection", (error) => {
      console.error(error);
      console.log(`FAIL ${this.name}: unhandled rejection: ${error?.message}`);
      process.exit(1);
    });
    const only = process.env.CONTRACT_ONLY ?? "";
    let passed = 0;
    for (const [number, { title, action, serverOnly }] of this.#checks.entries()) {
      if ((serverOnly && DIRECT) || !title.includes(only)) {
        console.log(`skip ${this.name}: ${title}`);
        continue;
      }
      const started = performance.now();
      try {
        await action(`${this.name}-${RUN}-${number}`);
      } catch (error) {
        console.error(error);
        console.log(`FAIL ${this.name}: ${title}: ${error?.name}: ${error?.message}`);
        console.log(`${passed} passed, 1 failed`);
        process.exit(1);
      }
      passed += 1;
      console.log(`ok   ${this.name}: ${title} (${Math.round(performance.now() - started)} ms)`);
    }
    clearTimeout(guard);
    console.log(`${passed} passed, 0 failed`);
    process.exit(0);
  }
}
