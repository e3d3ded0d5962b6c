// Puts the playground together: a key, the models that it may use, a chat, what it costs.

import { Chat } from "./chat.js";
import { Conversation } from "./conversation.js";
import { byId } from "./elements.js";
import { Gauge } from "./gauge.js";
import * as key from "./key.js";
import { Models } from "./models.js";
import { notice } from "./notice.js";
import { Refusal } from "./refusals.js";
import { Standing } from "./standing.js";
import { SURFACES } from "./surfaces.js";

const NO_KEY = "That is no key: a key begins with nz_ and has neither spaces nor accents.";
const models = new Models(byId("model"));
const standing = new Standing(byId("account"));
const conversation = new Conversation({ region: byId("conversation"), list: byId("turns"), empty: byId("empty") });
const gauge = new Gauge({
  first: byId("first"),
  tokens: byId("tokens"),
  perSecond: byId("per-second"),
  plot: byId("plot"),
  text: byId("plot-text"),
});
const chat = new Chat({ conversation, gauge, asked, told, changed });

function asked() {
  return {
    surface: SURFACES[surfaceName()],
    model: models.chosen,
    system: byId("system").value.trim(),
    temperature: figure("temperature"),
    maxTokens: figure("max-tokens"),
  };
}

function surfaceName() {
  return document.querySelector("input[name=surface]:checked").value;
}

/** What stands in a field of figures, undefined where nothing does. */
function figure(id) {
  const value = byId(id).valueAsNumber;
  return Number.isNaN(value) ? undefined : value;
}

function told(sentence) {
  byId("status").textContent = sentence;
}

function changed() {
  byId("send").hidden = chat.isRunning;
  byId("stop").hidden = !chat.isRunning;
  if (!chat.isRunning && key.isKept()) standing.look().catch(shown(byId("account"), () => standing.look()));
}

/** What shows a refusal in a place, with a way to try again; anything else is a defect, for the console. */
function shown(place, again) {
  return (error) => {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refusal)) throw error;
    place.replaceChildren(notice(error, () => again().catch(shown(place, again))));
  };
}

async function enter() {
  const field = byId("key");
  if (!key.keep(field.value)) return byId("entrance-notice").replaceChildren(NO_KEY);
  byId("enter").disabled = true;
  try {
    const account = await standing.look();
    field.value = "";
    byId("whose").textContent = `${account.tenant.name} \u00b7 ${account.key.name}`;
    inside(true);
    byId("question").focus();
    await list();
  } catch (error) {
    key.forget();
    shown(byId("entrance-notice"), enter)(error);
    field.focus();
  } finally {
    byId("enter").disabled = false;
  }
}

function inside(isInside) {
  byId("entrance").hidden = isInside;
  byId("workplace").hidden = !isInside;
  byId("holder").hidden = !isInside;
  byId("entrance-notice").replaceChildren();
}

/** Forget the key, with all that came of it: somebody else may sit down here. */
function leave() {
  key.forget();
  chat.stop();
  standing.forget();
  models.forget();
  conversation.clear();
  gauge.clear();
  byId("models-notice").replaceChildren();
  for (const id of ["entrance-form", "choices", "composer"]) byId(id).reset();
  byId("options").open = false;
  told("");
  inside(false);
}

async function list() {
  byId("models-notice").replaceChildren();
  try {
    const found = await models.show(SURFACES[surfaceName()]);
    if (found.length === 0) byId("models-notice").replaceChildren("There is no model that this key may use.");
  } catch (error) {
    shown(byId("models-notice"), list)(error);
  }
}

function send() {
  const field = byId("question");
  const question = field.value.trim();
  if (question === "" || chat.isRunning) return;
  if (models.chosen === "") return told("Choose a model first.");
  field.value = "";
  field.focus();
  chat.ask(question);
}

function onSubmit(id, act) {
  byId(id).addEventListener("submit", (event) => {
    event.preventDefault();
    act();
  });
}

onSubmit("entrance-form", enter);
onSubmit("composer", send);
byId("choices").addEventListener("submit", (event) => event.preventDefault());
byId("forget").addEventListener("click", () => {
  leave();
  byId("key").focus();
});
byId("new-chat").addEventListener("click", () => {
  chat.stop();
  conversation.clear();
  gauge.clear();
  told("New chat.");
  byId("question").focus();
});
byId("stop").addEventListener("click", () => {
  chat.stop();
  byId("question").focus();
});
byId("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") chat.stop();
});
for (const radio of document.querySelectorAll("input[name=surface]")) radio.addEventListener("change", list);
addEventListener("pagehide", leave); // a page that is kept for the way back has no key either
inside(false);
