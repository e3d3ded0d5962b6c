// Keeps the account of the key in sight: after each answer, and when a limit has all left again.

import { isSettling, nextReset, showAccount } from "./account.js";
import { look } from "./api.js";

const SETTLING_SECONDS = 0.4;
const LOOKS_AT_MOST = 5; // for one answer to be charged

export class Standing {
  #timer = 0;
  #asked = new AbortController();

  constructor(place) {
    this.place = place;
  }

  /** Look, which is free of charge; gives the account. Raises Refusal, or AbortError once it was forgotten. */
  async look(looksLeft = LOOKS_AT_MOST) {
    clearTimeout(this.#timer);
    const account = await look("/account", this.#asked.signal);
    showAccount(this.place, account);
    const seconds = isSettling(account) && looksLeft > 0 ? SETTLING_SECONDS : nextReset(account);
    if (seconds !== null) this.#timer = setTimeout(() => this.#again(looksLeft - 1), (seconds + 0.1) * 1000);
    return account;
  }

  forget() {
    clearTimeout(this.#timer);
    this.#asked.abort();
    this.#asked = new AbortController();
    this.place.replaceChildren();
  }

  /** What is shown stays where nothing newer can be had: the next question will say why. */
  #again(looksLeft) {
    this.look(looksLeft).catch(() => undefined);
  }
}
