// Holds the key, in this variable alone: nothing that outlives the page ever sees it.

let key = "";

/** Keep what was typed; false where it can be no key, since a header could not carry it. */
export function keep(typed) {
  const trimmed = typed.trim();
  if (!/^[\x21-\x7e]{1,200}$/.test(trimmed)) return false;
  key = trimmed;
  return true;
}

export function forget() {
  key = "";
}

export function isKept() {
  return key !== "";
}

export function authorization() {
  return { authorization: `Bearer ${key}` };
}
