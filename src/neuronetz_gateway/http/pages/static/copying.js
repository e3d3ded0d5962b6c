// Copies a text on request, or selects it where a page may not write to the clipboard.

const SHOWN_MS = 1600;

/** A button that copies what an element says. */
export function copies(button, source) {
  const [text, name] = [button.textContent, button.ariaLabel];
  const say = (shown, read) => {
    button.textContent = shown;
    button.ariaLabel = read;
  };
  button.addEventListener("click", async () => {
    const done = (await copied(source)) ? "Copied" : "Press Ctrl+C";
    say(done, done);
    setTimeout(() => say(text, name), SHOWN_MS);
  });
}

async function copied(source) {
  try {
    await navigator.clipboard.writeText(source.textContent); // there is none on plain http but at localhost
    return true;
  } catch {
    getSelection().selectAllChildren(source);
    return false;
  }
}
