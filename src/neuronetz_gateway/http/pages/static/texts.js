// Writes figures, times and strange characters so that a person can read them.

const whole = new Intl.NumberFormat("en");
const fine = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

// Control characters apart from tab and line ends; those that turn the direction of what follows them.
const UNSEEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** A text with what could hide or reorder it made visible; everything else as it is. */
export function visible(text) {
  return text.replace(UNSEEN, (character) => {
    const code = character.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? "\u2421" : `\u27e8U+${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
  });
}

export function count(number) {
  return whole.format(number);
}

/** A number with its noun, which takes an s unless it is one. */
export function counted(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** A length of time: 240 ms, 1.2 s, 42 s, 5 min, 9 h. */
export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${fine.format(seconds)} s`;
  if (seconds < 120) return `${Math.ceil(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

export function rate(perSecond) {
  return perSecond === null ? "\u2013" : fine.format(perSecond);
}

/** A moment in this browser's own time zone; the day too, unless it is within the next 20 hours. */
export function moment(date, now = new Date()) {
  return (date - now < 20 * 3_600_000 ? clock : day).format(date);
}
