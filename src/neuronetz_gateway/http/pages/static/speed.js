// Measures an answer as it comes: the time to its first token, its tokens a second.

const WINDOW_MS = 1000;
const LEAST_MS = 50; // over less than this a rate would be noise

export class Speed {
  #started;
  #arrivals = []; // milliseconds since the question, one a token

  constructor(now) {
    this.#started = now;
    this.ended = null;
    this.samples = []; // {at, rate}: milliseconds since the question, tokens a second over the second before
    this.reported = null; // what the model server counted, once it has said so
  }

  token(now) {
    this.#arrivals.push(now - this.#started);
  }

  /** Take a sample of the rate; none before the first token has been there for a moment. */
  sample(now) {
    const at = now - this.#started;
    const perSecond = this.#recent(at);
    if (perSecond !== null) this.samples.push({ at, rate: perSecond });
  }

  end(now, reported) {
    this.ended = now - this.#started;
    this.reported = reported || null;
  }

  get firstSeconds() {
    return this.#arrivals.length === 0 ? null : this.#arrivals[0] / 1000;
  }

  get tokens() {
    return this.reported ?? this.#arrivals.length;
  }

  /** Milliseconds since the question, as of now or of the end. */
  elapsed(now) {
    return this.ended ?? now - this.#started;
  }

  /** Tokens a second from the first token to the last, which is as long as the others but the first took. */
  get average() {
    const span = this.#arrivals.length === 0 ? 0 : this.#arrivals.at(-1) - this.#arrivals[0];
    return span < LEAST_MS ? null : ((this.tokens - 1) / span) * 1000;
  }

  #recent(at) {
    if (this.#arrivals.length === 0) return null;
    const since = Math.max(this.#arrivals[0], at - WINDOW_MS);
    if (at - since < LEAST_MS) return null;
    let tokens = 0;
    for (let index = this.#arrivals.length - 1; index >= 0 && this.#arrivals[index] > since; index -= 1) tokens += 1;
    return (tokens / (at - since)) * 1000;
  }
}
