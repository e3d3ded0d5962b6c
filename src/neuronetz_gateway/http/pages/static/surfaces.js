// Knows the three protocols as data: where to ask, what to send, how to read what comes back.

import { JsonLines, ServerSentEvents } from "./records.js";

const ANTHROPIC_MAX_TOKENS = 1024; // its protocol needs one

/**
 * path takes a chat, list has the models, named reads that list. body writes a request out of what was asked. read says
 * what one record holds: text, thinking, usage {prompt, output}, reason, error; done, without which an answer is not
 * whole.
 */
export const SURFACES = {
  ollama: {
    label: "Ollama",
    path: "/api/chat",
    list: "/api/tags",
    named: (listing) => (listing.models ?? []).map((each) => ({ name: each.name, chats: chats(each.capabilities) })),
    records: () => new JsonLines(),
    body: ({ model, system, turns, temperature, maxTokens }) => ({
      model,
      messages: withSystem(system, turns),
      stream: true,
      options: present({ temperature, num_predict: maxTokens }),
    }),
    read: readOllama,
  },
  openai: {
    label: "OpenAI",
    path: "/v1/chat/completions",
    list: "/v1/models",
    named: openaiNames,
    records: () => new ServerSentEvents(),
    body: ({ model, system, turns, temperature, maxTokens }) => ({
      model,
      messages: withSystem(system, turns),
      stream: true,
      stream_options: { include_usage: true },
      ...present({ temperature, max_tokens: maxTokens }),
    }),
    read: readOpenai,
  },
  anthropic: {
    label: "Anthropic",
    path: "/v1/messages",
    list: "/v1/models",
    named: openaiNames,
    records: () => new ServerSentEvents(),
    body: ({ model, system, turns, temperature, maxTokens }) => ({
      model,
      messages: turns,
      stream: true,
      max_tokens: maxTokens ?? ANTHROPIC_MAX_TOKENS,
      ...present({ temperature, system: system || undefined }),
    }),
    read: readAnthropic,
  },
};

function openaiNames(listing) {
  return (listing.data ?? []).map((each) => ({ name: each.id, chats: true }));
}

/** False for a model of which the list says that it cannot chat; not every model server lists what a model can. */
function chats(capabilities) {
  return !Array.isArray(capabilities) || capabilities.includes("completion");
}

function withSystem(system, turns) {
  return system ? [{ role: "system", content: system }, ...turns] : turns;
}

function present(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null));
}

function readOllama({ data }) {
  const record = JSON.parse(data);
  if (record.error !== undefined) return { error: record };
  const told = { text: record.message?.content, thinking: record.message?.thinking, done: record.done === true };
  if (!told.done) return told;
  const usage = { prompt: record.prompt_eval_count ?? 0, output: record.eval_count ?? 0 };
  return { ...told, usage, reason: record.done_reason };
}

function readOpenai({ data }) {
  if (data === "[DONE]") return { done: true };
  const record = JSON.parse(data);
  if (record.error !== undefined) return { error: record };
  const choice = record.choices?.[0];
  return {
    text: choice?.delta?.content,
    thinking: choice?.delta?.reasoning ?? choice?.delta?.reasoning_content,
    reason: choice?.finish_reason,
    usage: record.usage && { prompt: record.usage.prompt_tokens ?? 0, output: record.usage.completion_tokens ?? 0 },
  };
}

function readAnthropic({ data }) {
  const record = JSON.parse(data);
  if (record.type === "error") return { error: record };
  if (record.type === "message_stop") return { done: true };
  if (record.type === "content_block_delta") return { text: record.delta?.text, thinking: record.delta?.thinking };
  if (record.type !== "message_delta") return {}; // the usage of message_start is an estimate
  const usage = record.usage && { prompt: record.usage.input_tokens ?? 0, output: record.usage.output_tokens ?? 0 };
  return { usage, reason: record.delta?.stop_reason };
}
