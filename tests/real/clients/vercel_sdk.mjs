// The Vercel AI SDK: OpenAI's chat completions and responses (its default), an OpenAI-compatible host, Anthropic.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";

const url = process.env.MIXTURES_URL;
const sky = "Why is the sky blue?";
const system = "Be brief.";
const messages = [
  { role: "user", content: "What causes the seasons on Earth?" },
  { role: "assistant", content: "The tilt of its axis." },
  { role: "user", content: sky },
];
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: "any" });
const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey: "any" });
const host = createOpenAICompatible({ name: "moa", baseURL: `${url}/v1`, includeUsage: true });
const ways = { responses: openai, chat: openai.chat, compatible: host, anthropic };

const say = (told) => console.log(JSON.stringify(told));

async function left(name) {
  const began = Date.now();
  while ((await (await fetch(`${url}/health`)).json()).under_way) {
    if (Date.now() - began > 20_000) throw new Error("a request is still under way");
    await new Promise((done) => setTimeout(done, 10));
  }
  say({ case: name, left: (Date.now() - began) / 1000 });
}

for (const [name, make] of Object.entries(ways)) {
  const options = { model: make("panel"), maxRetries: 0 };
  const whole = await generateText({ ...options, prompt: sky });
  if (whole.finishReason !== "stop" || !(whole.usage.outputTokens > 0)) throw new Error(JSON.stringify(whole.usage));
  say({ case: `${name}: whole`, text: whole.text });
  say({ case: `${name}: conversation`, text: (await generateText({ ...options, system, messages })).text });
  const stream = streamText({ ...options, system, messages });
  let text = "";
  for await (const piece of stream.textStream) text += piece;
  if (!((await stream.usage).outputTokens > 0)) throw new Error("the stream does not count its tokens");
  say({ case: `${name}: stream`, text });
  for (const [what, model, status] of [["unknown", "nothing", 404], ["all fail", "broken", 502]]) {
    const error = await generateText({ model: make(model), maxRetries: 0, prompt: sky }).catch((error) => error);
    if (error.statusCode !== status) throw new Error(`${status} was expected: ${error}`);
    let streamed;
    const onError = (event) => (streamed = event.error);
    await streamText({ model: make(model), maxRetries: 0, prompt: sky, onError }).consumeStream();
    if (streamed?.statusCode !== status) throw new Error(`${status} was expected: ${streamed}`);
    say({ case: `${name}: ${what}`, refused: `${error.name}: ${error.message}` });
  }
  const control = new AbortController();
  const broken = streamText({ model: make("silent"), prompt: sky, abortSignal: control.signal, onError() {} });
  for await (const piece of broken.textStream) if (piece) control.abort();
  await left(`${name}: hang-up`);
}
