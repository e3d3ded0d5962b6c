// Runs one question after another, each from the composer to the end of its answer.

import { exchange } from "./exchange.js";
import { notice } from "./notice.js";
import { Refusal } from "./refusals.js";
import { counted, duration, visible } from "./texts.js";

// How an answer ended, where it is not just over; the protocols have names of their own for it.
const REASONS = { length: "cut at max tokens", max_tokens: "cut at max tokens", content_filter: "cut by a filter" };

export class Chat {
  #running = null; // the AbortController of the answer that is under way

  /** `asked()` gives {surface, model, ...}; `told(sentence)` is read aloud; `changed()` is called at start and end. */
  constructor({ conversation, gauge, asked, told, changed }) {
    Object.assign(this, { conversation, gauge, asked, told, changed });
  }

  get isRunning() {
    return this.#running !== null;
  }

  stop() {
    this.#running?.abort();
  }

  async ask(question) {
    const { surface, ...asked } = this.asked();
    const { answer, dropped } = this.conversation.begin(question, asked.model);
    const speed = this.gauge.begin();
    const turns = this.conversation.turnsWith(question);
    const listening = this.#listening(answer, speed);
    this.#running = new AbortController();
    this.changed();
    this.told(`Asking ${visible(asked.model)}.`);
    let ended = { usage: null, how: "", said: "Failed" };
    try {
      const last = await exchange(surface, { ...asked, turns }, this.#running.signal, listening);
      ended = { usage: last.usage, how: REASONS[last.reason] ?? "", said: "Answered" };
    } catch (error) {
      ended = { usage: null, ...this.#failed(error, answer, question, dropped) };
    } finally {
      this.#running = null;
      this.#close(question, answer, speed, ended);
    }
  }

  #close(question, answer, speed, { usage, how, said }) {
    this.gauge.end(speed, usage?.output ?? 0);
    answer.end(speed, how);
    if (answer.text !== "" && answer.root.isConnected) this.conversation.keep(question, answer.text);
    const took = speed.tokens === 0 ? "" : `: ${counted(speed.tokens, "token")} in ${duration(speed.ended / 1000)}`;
    this.told(`${said}${took}.`);
    this.changed();
  }

  #listening(answer, speed) {
    return {
      adjusted: (fields) => answer.adjusted(fields),
      record: (part) => {
        if (!part.text && !part.thinking) return;
        speed.token(performance.now());
        answer.add(part);
      },
    };
  }

  /** Show why, in place of the rest of the answer; gives the words for it, in the answer and in the status. */
  #failed(error, answer, question, dropped) {
    if (error.name === "AbortError") return { how: "stopped", said: "Stopped" };
    if (!(error instanceof Refusal)) throw error;
    const again = () => {
      if (this.isRunning) return;
      dropped();
      this.ask(question);
    };
    answer.root.append(notice(error, again));
    return { how: "", said: error.title };
  }
}
