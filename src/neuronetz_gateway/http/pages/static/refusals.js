// Reads refusals, in the shape of whichever protocol, into words for a person.

const RETRYING = new Set([408, 429, 502, 503, 504]);
const TITLES = {
  0: "No connection",
  400: "The request was not understood",
  401: "The key is not accepted",
  403: "Not allowed",
  404: "Not found",
  413: "Too large",
  429: "Rate limit reached",
  502: "The model server failed",
  503: "Not available just now",
  504: "The model server was too slow",
};

/** Why nothing, or no more, came: `waitSeconds` until it may be asked again, null where waiting does not help. */
export class Refusal extends Error {
  constructor({ status = 0, title, message, code = "", waitSeconds = null, until = null, requestId = "" }) {
    super(message);
    this.status = status;
    this.title = title ?? TITLES[status] ?? `Refused (${status})`;
    this.code = code;
    this.waitSeconds = waitSeconds;
    this.until = until;
    this.requestId = requestId;
  }
}

/** The refusal in an answer that is none of the 200s. */
export async function refusalIn(answer) {
  const { message, code } = said(await documentIn(answer));
  const seconds = Number(answer.headers.get("retry-after") ?? Number.NaN);
  const spent = code === "insufficient_quota" || (answer.status === 429 && shallNotRetry(answer));
  return new Refusal({
    status: answer.status,
    title: spent ? "The budget is spent" : undefined,
    message: withHint(message || `The gateway answered ${answer.status}, without a word.`),
    code: code || (spent ? "insufficient_quota" : ""),
    waitSeconds: !spent && RETRYING.has(answer.status) ? seconds || 0 : null,
    until: spent && seconds > 0 ? new Date(Date.now() + seconds * 1000) : null,
    requestId: answer.headers.get("x-request-id") ?? "",
  });
}

/** The refusal in the last record of a stream. */
export function refusalInRecord(record, requestId) {
  const { message, code } = said(record);
  return new Refusal({ title: "The answer broke off", message: message || "No reason was given.", code, requestId });
}

/** Message and code: {"error": "..."} of Ollama, {"error": {...}} of OpenAI and Anthropic. */
export function said(document) {
  const error = document?.error;
  if (typeof error === "string") return { message: error, code: "" };
  return { message: String(error?.message ?? ""), code: String(error?.code ?? error?.details?.error_code ?? "") };
}

async function documentIn(answer) {
  try {
    return await answer.json();
  } catch {
    return null; // a proxy in between, which answers in HTML
  }
}

function shallNotRetry(answer) {
  return answer.headers.get("x-should-retry") === "false";
}

function withHint(message) {
  return /does not support chat/i.test(message) ? `${message} This model has no chat: choose another one.` : message;
}
