// Runs scenarios of one SDK: each line of stdin is a JSON object that names one, each line of stdout says what it saw.
import { createInterface } from "node:readline";

console.log = console.error; // stdout holds the answers alone; the ollama library writes remarks to it

/** What a caller can tell of an error. */
function described(error) {
  return {
    name: error.constructor.name,
    message: error.message,
    status: error.status ?? error.status_code ?? null,
    code: error.code ?? null,
    request_id: error.requestID ?? null,
  };
}

/** Everything that an iterator yields, collected before its error where it ends with one. */
export async function all(parts, pick = (part) => part) {
  const seen = [];
  for await (const part of parts) seen.push(pick(part));
  return seen;
}

export async function run(connect, scenarios) {
  for await (const line of createInterface({ input: process.stdin })) {
    const ask = JSON.parse(line);
    let result;
    try {
      result = { saw: (await scenarios[ask.scenario](connect(ask), ask)) ?? null };
    } catch (error) {
      result = { raised: described(error) };
    }
    process.stdout.write(`${JSON.stringify(result)}\n`);
  }
}
