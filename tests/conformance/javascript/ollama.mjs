// The ollama library against the gateway. Outside ollama.com it sends a key by its headers alone.
import { Ollama } from "ollama";
import { all, run } from "./run.mjs";

const connect = ({ base_url, key }) => new Ollama({ host: base_url, headers: { Authorization: `Bearer ${key}` } });
const chat = ({ model, messages, tools }) => ({ model, messages, tools });

await run(connect, {
  answer: (client, ask) => client.chat(chat(ask)),
  stream: async (client, ask) => all(await client.chat({ ...chat(ask), stream: true })),
  structured: (client, ask) => client.chat({ ...chat(ask), format: ask.schema }),
  thinking: (client, ask) => client.chat({ ...chat(ask), think: true }),
  thinking_stream: async (client, ask) => all(await client.chat({ ...chat(ask), think: "high", stream: true })),
  completion: (client, { model, prompt, images }) => client.generate({ model, prompt, images }),
  completion_stream: async (client, { model, prompt }) => all(await client.generate({ model, prompt, stream: true })),
  embeddings: (client, { model, input }) => client.embed({ model, input }),
  old_embeddings: (client, { model, prompt }) => client.embeddings({ model, prompt }),
  list: (client) => client.list(),
  page: (client, { model }) => client.show({ model }),
  loaded: (client) => client.ps(),
  closed: (client, { model }) => client.pull({ model }),
});
