// Fills the page's own address into the snippets, makes them copyable.

import { copies } from "./copying.js";

for (const place of document.querySelectorAll(".origin")) place.textContent = location.origin;
for (const button of document.querySelectorAll("button[data-copies]")) {
  button.hidden = false;
  copies(button, document.getElementById(button.dataset.copies));
}
