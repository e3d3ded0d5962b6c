// Cuts bytes into lines of text, wherever the network cut them: within a line, a character, a line end.

export const MOST_CHARACTERS = 16 * 1024 * 1024;

export class Lines {
  #decoder = new TextDecoder(); // holds back the bytes of a character that is not whole; drops a byte order mark
  #pieces = []; // of the line that is not whole yet: joined once, or a long one would be copied at each of its pieces
  #held = 0;
  #afterReturn = false; // a line feed that follows belongs to the line end before

  /** The lines that are whole by now, without their ends (LF, CR LF or CR). */
  push(bytes) {
    return this.#cut(this.#decoder.decode(bytes, { stream: true }));
  }

  /** What was left without a line end, as lines; none if nothing was. */
  end() {
    const lines = this.#cut(this.#decoder.decode());
    const rest = this.#line("");
    return rest === "" ? lines : [...lines, rest];
  }

  #cut(text) {
    const lines = [];
    let start = 0;
    if (text !== "" && this.#afterReturn) {
      this.#afterReturn = false;
      if (text[0] === "\n") start = 1;
    }
    const ends = /\r\n|\n|\r/g;
    ends.lastIndex = start;
    for (let end = ends.exec(text); end !== null; end = ends.exec(text)) {
      lines.push(this.#line(text.slice(start, end.index)));
      start = ends.lastIndex;
    }
    this.#afterReturn = text.endsWith("\r") || (text === "" && this.#afterReturn);
    this.#hold(text.slice(start));
    return lines;
  }

  #line(last) {
    const line = this.#pieces.join("") + last;
    this.#pieces = [];
    this.#held = 0;
    return line;
  }

  #hold(piece) {
    if (piece === "") return;
    this.#held += piece.length;
    if (this.#held > MOST_CHARACTERS) throw new RangeError("A record of the answer is too long to be shown.");
    this.#pieces.push(piece);
  }
}
