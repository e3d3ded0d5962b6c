// Asks the gateway, with the key; whatever is no answer becomes a Refusal.

import { authorization } from "./key.js";
import { Refusal, refusalIn } from "./refusals.js";

/** The answer to a POST with a body, or to a GET without one; its body is still to be read. */
export async function ask(path, { body, signal } = {}) {
  const answer = await answered(path, {
    method: body === undefined ? "GET" : "POST",
    headers: { ...authorization(), ...(body === undefined ? {} : { "content-type": "application/json" }) },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
  });
  if (!answer.ok) throw await refusalIn(answer);
  return answer;
}

/** A whole JSON document. */
export async function look(path, signal) {
  const answer = await ask(path, { signal });
  try {
    return await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal({ title: "This is no answer of the gateway", message: `What came from ${path} is no JSON.` });
  }
}

async function answered(path, options) {
  try {
    return await fetch(path, { ...options, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal({ message: "The gateway cannot be reached from here.", waitSeconds: 0 });
  }
}
