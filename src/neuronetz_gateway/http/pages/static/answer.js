// Shows one answer as it comes: its text, its thinking, its figures, what was adjusted.

import { element } from "./elements.js";
import { counted, duration, rate, visible } from "./texts.js";
import { Words } from "./words.js";

export class Answer {
  text = ""; // as the model wrote it, for the next question of the conversation
  #pending = { text: "", thinking: "" };
  #words;
  #frame = 0;
  #shown;
  #thinking;
  #body;
  #figures;

  /** `shown` is called after each piece of text has been put on the page. */
  constructor(model, shown) {
    const [thought, said] = [1, 2].map(() => element("div", { className: "words", dir: "auto" }));
    this.#words = { text: new Words(said), thinking: new Words(thought) };
    this.#shown = shown;
    this.#thinking = element(
      "details",
      { className: "thinking", hidden: true },
      element("summary", {}, "Thinking"),
      thought,
    );
    this.#body = said;
    this.#figures = element("p", { className: "figures" });
    this.root = element(
      "li",
      { className: "turn answer waiting" },
      element("p", { className: "who" }, visible(model)),
      this.#thinking,
      this.#body,
      this.#figures,
    );
  }

  /** Add what a record brought; it is put on the page once a frame, however many records come. */
  add({ text, thinking }) {
    if (text) this.text += text;
    this.#pending.text += text ?? "";
    this.#pending.thinking += thinking ?? "";
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.#flush());
  }

  /** Say which fields of the request the gateway left out or lowered. */
  adjusted(fields) {
    if (fields.length === 0) return;
    const names = fields.flatMap((field, at) => [at === 0 ? "" : ", ", element("code", {}, field)]);
    this.#body.before(element("p", { className: "adjusted" }, "Adjusted by the gateway: ", ...names));
  }

  /** The answer is over: show what it took; `how` is how it ended, where that is worth a word. */
  end(speed, how) {
    cancelAnimationFrame(this.#frame);
    this.#flush();
    this.root.classList.remove("waiting");
    const said = [how];
    if (speed.firstSeconds !== null) {
      said.unshift(counted(speed.tokens, "token"), `first after ${duration(speed.firstSeconds)}`);
      if (speed.average !== null) said.splice(2, 0, `${rate(speed.average)} tokens/s`);
    }
    this.#figures.textContent = said.filter(Boolean).join(" · ");
  }

  #flush() {
    this.#frame = 0;
    this.#thinking.hidden &&= this.#pending.thinking === "";
    for (const part of ["thinking", "text"]) {
      this.#words[part].add(this.#pending[part]);
      this.#pending[part] = "";
    }
    this.#shown();
  }
}
