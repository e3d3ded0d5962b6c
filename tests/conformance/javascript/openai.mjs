// The openai library against the gateway.
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { all, run } from "./run.mjs";

const City = z.object({ name: z.string(), people: z.int() });

const connect = ({ base_url, key, options }) => new OpenAI({ baseURL: `${base_url}/v1`, apiKey: key, ...options });
const chat = ({ model, messages, tools }) => ({ model, messages, tools });
const response = ({ model, input, tools }) => ({ model, input, tools });

await run(connect, {
  answer: (client, ask) => client.chat.completions.create(chat(ask)),
  stream: async (client, ask) =>
    all(await client.chat.completions.create({ ...chat(ask), stream: true, stream_options: ask.stream_options })),
  final: (client, ask) => client.chat.completions.stream(chat(ask)).finalChatCompletion(),
  structured: async (client, ask) => {
    const format = zodResponseFormat(City, "city");
    const answer = await client.chat.completions.parse({ ...chat(ask), response_format: format });
    return answer.choices[0].message.parsed;
  },
  thinking: (client, ask) => client.chat.completions.create({ ...chat(ask), reasoning_effort: "high" }),
  completion: (client, { model, prompt }) => client.completions.create({ model, prompt }),
  completion_stream: async (client, { model, prompt }) =>
    all(await client.completions.create({ model, prompt, stream: true })),
  response: (client, ask) => client.responses.create(response(ask)),
  response_stream: async (client, ask) => all(await client.responses.create({ ...response(ask), stream: true })),
  response_final: (client, ask) => client.responses.stream(response(ask)).finalResponse(),
  response_structured: async (client, ask) => {
    const text = { format: zodTextFormat(City, "city") };
    return (await client.responses.parse({ ...response(ask), text })).output_parsed;
  },
  embeddings: (client, { model, input }) => client.embeddings.create({ model, input }),
  list: async (client) => all(await client.models.list()),
  page: (client, { model }) => client.models.retrieve(model),
  closed: (client, { model, prompt }) => client.images.generate({ model, prompt }),
});
