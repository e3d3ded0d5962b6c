// Anthropic's library against the gateway.
import Anthropic from "@anthropic-ai/sdk";
import { all, run } from "./run.mjs";

const connect = ({ base_url, key, options }) => new Anthropic({ baseURL: base_url, apiKey: key, ...options });
const message = ({ model, messages, tools, thinking, system }) => ({
  model,
  messages,
  tools,
  thinking,
  system,
  max_tokens: 100,
});

await run(connect, {
  answer: (client, ask) => client.messages.create(message(ask)),
  stream: async (client, ask) => all(await client.messages.create({ ...message(ask), stream: true })),
  final: (client, ask) => client.messages.stream(message(ask)).finalMessage(),
  closed: (client, { model, messages }) => client.messages.countTokens({ model, messages }),
});
