// Shows what a key may use, what is left of it, as bars.

import { element } from "./elements.js";
import { count, duration, moment } from "./texts.js";

const HIGH = 0.8;
const FULL = 0.95;
const WHOSE = { key: "Key", tenant: "Tenant" };
const PERIODS = { daily: "tokens a day", monthly: "tokens a month", total: "tokens in total" };
const AXES = { rpm: "requests a minute", tpm: "tokens a minute", concurrent: "requests at once" };
let numbers = 0;

/** The whole of an account (GET /account) in place of what `place` held. */
export function showAccount(place, account) {
  place.replaceChildren(
    ...group("Used of the token budgets", budgets(account), "There is no budget."),
    ...group("Used of the limits", limits(account), "There are no limits."),
    ...usage(account.usage_today),
  );
}

/** Seconds until some limit has all left again, null where none has been used; then it is worth another look. */
export function nextReset(account) {
  const axes = Object.values(account.limits).flatMap((scope) => [scope.rpm, scope.tpm]);
  const seconds = axes.map((axis) => axis.resets_in_seconds).filter((each) => each > 0);
  return seconds.length === 0 ? null : Math.min(...seconds);
}

/** Whether something that was asked is not charged yet: it is within the next moments. */
export function isSettling(account) {
  const budgets = Object.values(account.budgets).flatMap((scope) => Object.values(scope));
  return budgets.some((budget) => budget.reserved_tokens > 0);
}

function group(title, bars, nothing) {
  return [element("h3", {}, title), ...(bars.length > 0 ? bars : [element("p", { className: "fine" }, nothing)])];
}

function budgets(account) {
  return each(account.budgets, PERIODS, (budget) => budget.limit_tokens !== null).map(([whose, period, budget]) =>
    bar(`${WHOSE[whose]} \u00b7 ${PERIODS[period]}`, budget.limit_tokens, budget.used_tokens, [
      budget.reserved_tokens > 0 && `${count(budget.reserved_tokens)} reserved`,
      budget.resets_at && `renewed at ${moment(new Date(budget.resets_at))}`,
    ]),
  );
}

function limits(account) {
  return each(account.limits, AXES, (axis) => axis.limit !== null).map(([whose, name, axis]) =>
    bar(`${WHOSE[whose]} \u00b7 ${AXES[name]}`, axis.limit, axis.limit - axis.left, [
      axis.resets_in_seconds > 0 && `all left again in ${duration(axis.resets_in_seconds)}`,
    ]),
  );
}

/** [scope, name, value] of what is set, the key's own first. */
function each(scopes, names, isSet) {
  return Object.keys(WHOSE).flatMap((whose) =>
    Object.keys(names)
      .map((name) => [whose, name, scopes[whose][name]])
      .filter(([, , value]) => isSet(value)),
  );
}

function bar(label, limit, used, notes) {
  numbers += 1;
  const id = `bar-${numbers}`;
  const said = `${count(used)} of ${count(limit)}`;
  const note = notes.filter(Boolean).join(" \u00b7 ");
  const meter = element("meter", {
    min: 0, max: Math.max(limit, 1), low: limit * HIGH, high: limit * FULL, optimum: 0, value: Math.min(used, limit),
    "aria-labelledby": id, "aria-valuetext": `${said} used`, textContent: said,
  });
  return element(
    "div",
    { className: "bar" },
    element("p", { className: "bar-head" }, element("b", { id }, label), element("span", {}, said)),
    meter,
    note ? element("p", { className: "fine" }, note) : null,
  );
}

function usage({ models }) {
  const asked = models.filter((each) => each.model !== null);
  if (asked.length === 0) return [];
  const rows = asked.map((each) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, each.model),
      element("td", {}, count(each.requests)),
      element("td", {}, count(each.charged_tokens)),
    ),
  );
  const head = ["Model", "Requests", "Tokens"].map((name) => element("th", { scope: "col" }, name));
  return [
    element("h3", {}, "Used today"),
    element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows)),
  ];
}
