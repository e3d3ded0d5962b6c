// Shows the speed of the answer under way, several times a second.

import { draw, sentence } from "./plot.js";
import { Speed } from "./speed.js";
import { count, duration, rate } from "./texts.js";

const SAMPLE_MS = 100;

export class Gauge {
  #speed = null;
  #timer = 0;

  /** The elements of three figures, of the plot, of the sentence beneath it. */
  constructor({ first, tokens, perSecond, plot, text }) {
    this.first = first;
    this.tokens = tokens;
    this.perSecond = perSecond;
    this.plot = plot;
    this.text = text;
    this.clear();
  }

  clear() {
    clearInterval(this.#timer);
    this.#speed = null;
    this.text.textContent = "";
    this.#show(new Speed(performance.now()));
  }

  begin() {
    clearInterval(this.#timer);
    this.#speed = new Speed(performance.now());
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS);
    this.#show(this.#speed);
    return this.#speed;
  }

  /** An answer is over; `reported` is what the model server counted, 0 where it did not. */
  end(speed, reported) {
    speed.sample(performance.now());
    speed.end(performance.now(), reported);
    if (speed !== this.#speed) return; // the chat was cleared meanwhile
    clearInterval(this.#timer);
    this.#show(speed);
    this.text.textContent = sentence(speed);
  }

  #sample() {
    this.#speed.sample(performance.now());
    this.#show(this.#speed);
  }

  #show(speed) {
    this.first.textContent = speed.firstSeconds === null ? "\u2013" : duration(speed.firstSeconds);
    this.tokens.textContent = count(speed.tokens);
    this.perSecond.textContent = rate(speed.average);
    draw(this.plot, speed, performance.now());
  }
}
