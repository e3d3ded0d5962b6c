// Keeps what was said, in memory alone, on the page as it is said.

import { Answer } from "./answer.js";
import { element } from "./elements.js";

const NEAR_PX = 60;

export class Conversation {
  #turns = [];
  #height = 0;

  /** `region` scrolls, `list` holds the turns, `empty` is there while there is none. */
  constructor({ region, list, empty }) {
    this.region = region;
    this.list = list;
    this.empty = empty;
  }

  /** What is sent up with the next question: every question that was answered, with its answer. */
  turnsWith(question) {
    return [...this.#turns, { role: "user", content: question }];
  }

  /** Put a question on the page, with the answer that is to come. */
  begin(question, model) {
    this.empty.hidden = true;
    const words = element("div", { className: "words", dir: "auto" }, question);
    const asked = element("li", { className: "turn question" }, words);
    const answer = new Answer(model, () => this.#follow());
    this.list.append(asked, answer.root);
    this.region.scrollTop = this.region.scrollHeight;
    const dropped = () => {
      asked.remove();
      answer.root.remove();
    };
    return { answer, dropped };
  }

  /** A question that was answered, in part or whole, is part of what follows. */
  keep(question, text) {
    this.#turns.push({ role: "user", content: question }, { role: "assistant", content: text });
  }

  clear() {
    this.#turns = [];
    this.list.replaceChildren();
    this.empty.hidden = false;
  }

  /** Stay at the end, for whoever is there; who has scrolled up reads on in peace. */
  #follow() {
    const { scrollHeight, scrollTop, clientHeight } = this.region;
    const grown = scrollHeight - this.#height;
    this.#height = scrollHeight;
    if (scrollHeight - scrollTop - clientHeight < grown + NEAR_PX) this.region.scrollTop = scrollHeight;
  }
}
