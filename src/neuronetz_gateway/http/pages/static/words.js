// Puts text on the page in short runs, since one word of a million letters would hold the browser up for minutes.

import { visible } from "./texts.js";

const RUN = 400; // one run of 300,000 letters took Chromium 156 45 s to break into lines; cut, a million take 3 s

export class Words {
  #run = null;

  /** `place` is the element that the text grows in. */
  constructor(place) {
    this.place = place;
  }

  /** Add a text, with what cannot be seen in it made visible. */
  add(text) {
    const seen = visible(text);
    for (let start = 0; start < seen.length; ) {
      if (this.#run === null || this.#run.length >= RUN) this.place.append((this.#run = document.createTextNode("")));
      const end = whole(seen, start + RUN - this.#run.length);
      this.#run.appendData(seen.slice(start, end));
      start = end;
    }
  }
}

/** An end that does not lie within a character of two code units. */
function whole(text, end) {
  const high = text.charCodeAt(end - 1);
  return high >= 0xd800 && high < 0xdc00 ? end + 1 : end;
}
