// Shows why there is no answer, with what can be done about it and when.

import { element } from "./elements.js";
import { moment, visible } from "./texts.js";

const SECOND_MS = 1000;

/** A refusal for a person; `again` is called by a button, which waits until it may be. */
export function notice(refusal, again) {
  const shown = element(
    "div",
    { className: "notice" },
    element("p", { className: "notice-title" }, refusal.title),
    element("p", {}, visible(refusal.message)),
    refusal.until && element("p", {}, `It is renewed at ${moment(refusal.until)}; to ask again before is of no use.`),
    refusal.requestId && element("p", { className: "fine" }, "Request ", element("code", {}, refusal.requestId)),
  );
  if (refusal.waitSeconds !== null) shown.append(retry(refusal.waitSeconds, again));
  return shown;
}

function retry(waitSeconds, again) {
  const ready = Date.now() + waitSeconds * SECOND_MS;
  const button = element("button", { type: "button", className: "quiet", onclick: again });
  const tick = () => {
    const left = Math.ceil((ready - Date.now()) / SECOND_MS);
    button.disabled = left > 0;
    button.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    if (left <= 0) clearInterval(timer);
  };
  const timer = setInterval(tick, SECOND_MS / 4);
  tick();
  return button;
}
