// Makes records of a stream: lines of JSON (NDJSON) or server-sent events (SSE).

import { Lines } from "./lines.js";

/** One record a line: {data}. Empty lines are none. */
export class JsonLines {
  #lines = new Lines();

  push(bytes) {
    return asRecords(this.#lines.push(bytes));
  }

  end() {
    return asRecords(this.#lines.end());
  }
}

/** Events as the HTML standard reads them (§9.2.6): {event, data}, each ended by an empty line. */
export class ServerSentEvents {
  #lines = new Lines();
  #event = "";
  #data = [];

  push(bytes) {
    return this.#lines.push(bytes).flatMap((line) => this.#read(line));
  }

  /** Nothing: an event without its empty line is not whole, so the standard drops it. */
  end() {
    return [];
  }

  #read(line) {
    if (line === "") return this.#dispatched();
    const colon = line.indexOf(":");
    if (colon === 0) return []; // a comment
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    return [];
  }

  #dispatched() {
    const record = { event: this.#event || "message", data: this.#data.join("\n") };
    const empty = this.#data.length === 0;
    this.#event = "";
    this.#data = [];
    return empty ? [] : [record];
  }
}

function asRecords(lines) {
  return lines.filter((line) => line.trim() !== "").map((data) => ({ data }));
}
