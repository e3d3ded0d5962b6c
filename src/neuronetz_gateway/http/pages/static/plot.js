// Draws the rate of an answer over time, with a sentence that says the same.

import { drawn } from "./elements.js";
import { duration, rate } from "./texts.js";

const WIDTH = 320;
const HEIGHT = 132;
const LEFT = 30;
const RIGHT = 8;
const TOP = 12;
const BOTTOM = 22;
const LEAST_MS = 1000;
const LATE = 0.95;
const STEPS = [1, 2, 5];

/** Draw it into an SVG; `now` in milliseconds, as the speed was given it. */
export function draw(svg, speed, now) {
  const elapsed = Math.max(LEAST_MS, speed.elapsed(now));
  const top = ceiling(Math.max(1, ...speed.samples.map((sample) => sample.rate)));
  const x = (at) => (LEFT + (at / elapsed) * (WIDTH - LEFT - RIGHT)).toFixed(1);
  const y = (value) => (HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM)).toFixed(1);
  const parts = [...grid(top, y), ...ticks(elapsed, x), ...line(speed.samples, x, y)];
  if (speed.firstSeconds !== null) parts.push(...firstToken(x(speed.firstSeconds * 1000), speed));
  svg.replaceChildren(drawn("title", { id: svg.getAttribute("aria-labelledby") }, sentence(speed)), ...parts);
}

export function sentence(speed) {
  if (speed.firstSeconds === null) return "Tokens a second: nothing has come yet.";
  const first = `first token after ${duration(speed.firstSeconds)}`;
  return `Tokens a second: ${first}, ${rate(speed.average)} tokens a second on average, ${speed.tokens} tokens.`;
}

/** The next 1, 2 or 5 times a power of ten. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return (STEPS.find((step) => step * power >= value) ?? 10) * power;
}

function grid(top, y) {
  return [0, top / 2, top].flatMap((value) => [
    drawn("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
    drawn("text", { class: "tick", x: LEFT - 6, y: Number(y(value)) + 3, "text-anchor": "end" }, String(value)),
  ]);
}

function ticks(elapsed, x) {
  const step = ceiling(elapsed / 1000 / 4);
  const marks = [];
  for (let second = 0; second * 1000 <= elapsed; second += step) {
    const label = second === 0 ? "0" : `${Number(second.toFixed(1))} s`;
    const anchor = second * 1000 > elapsed * LATE ? "end" : "middle";
    marks.push(drawn("text", { class: "tick", x: x(second * 1000), y: HEIGHT - 6, "text-anchor": anchor }, label));
  }
  return marks;
}

function line(samples, x, y) {
  if (samples.length < 2) return [];
  const points = samples.map((sample) => `${x(sample.at)} ${y(sample.rate)}`);
  const [from, to] = [x(samples[0].at), x(samples.at(-1).at)];
  return [
    drawn("path", { class: "area", d: `M${from} ${y(0)}L${points.join("L")}L${to} ${y(0)}Z` }),
    drawn("path", { class: "line", d: `M${points.join("L")}` }),
  ];
}

function firstToken(x, speed) {
  const late = Number(x) > WIDTH / 2;
  const place = { x: Number(x) + (late ? -5 : 5), y: TOP - 2, "text-anchor": late ? "end" : "start" };
  return [
    drawn("line", { class: "mark", x1: x, x2: x, y1: TOP - 8, y2: HEIGHT - BOTTOM }),
    drawn("text", place, `first token ${duration(speed.firstSeconds)}`),
  ];
}
