// Carries one question up, its answer back, record by record.

import { ask } from "./api.js";
import { Refusal, refusalInRecord } from "./refusals.js";

/**
 * Ask, then tell `told.adjusted(fields)` once, `told.record(part)` for each record. Gives the last words of the answer,
 * {usage, reason}. Raises Refusal, also for an answer that ends before its end, or AbortError once `signal` is.
 */
export async function exchange(surface, asked, signal, told) {
  const answer = await ask(surface.path, { body: surface.body(asked), signal });
  const requestId = answer.headers.get("x-request-id") ?? "";
  told.adjusted((answer.headers.get("x-gateway-adjusted") ?? "").split(",").filter(Boolean));
  const last = { usage: null, reason: "" };
  let whole = false;
  for await (const record of recordsOf(answer, surface.records(), requestId)) {
    const part = read(surface, record, requestId);
    if (part.error !== undefined) throw refusalInRecord(part.error, requestId);
    last.usage = part.usage ?? last.usage;
    last.reason = part.reason ?? last.reason;
    whole ||= part.done === true;
    told.record(part);
  }
  if (!whole) throw brokenOff(requestId, "The answer ended before its end.");
  return last;
}

async function* recordsOf(answer, records, requestId) {
  const reader = answer.body.getReader();
  try {
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) yield* records.push(piece.value);
    yield* records.end();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw brokenOff(requestId, error instanceof RangeError ? error.message : "The connection was lost.");
  } finally {
    reader.cancel().catch(() => undefined); // nobody reads on, whichever way this ended
  }
}

function read(surface, record, requestId) {
  try {
    return surface.read(record);
  } catch {
    throw brokenOff(requestId, "A record of the answer could not be read.");
  }
}

function brokenOff(requestId, message) {
  return new Refusal({ title: "The answer broke off", message, requestId });
}
