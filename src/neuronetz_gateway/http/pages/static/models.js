// Lists the models that the key may use, as the chosen protocol has them.

import { look } from "./api.js";
import { element } from "./elements.js";

export class Models {
  #lists = new Map(); // by path, since two protocols share one; a list counts as a request

  constructor(select) {
    this.select = select;
  }

  get chosen() {
    return this.select.value;
  }

  /** Show the list of a surface, keeping the choice where it is there too. Raises Refusal. */
  async show(surface) {
    if (!this.#lists.has(surface.list)) this.#lists.set(surface.list, surface.named(await look(surface.list)));
    const before = this.select.value;
    const models = this.#lists.get(surface.list);
    this.select.replaceChildren(...models.map(option));
    const again = models.some((each) => each.name === before && each.chats);
    this.select.value = again ? before : (models.find((each) => each.chats)?.name ?? "");
    return models;
  }

  forget() {
    this.#lists.clear();
    this.select.replaceChildren();
  }
}

function option({ name, chats }) {
  return element("option", { value: name, disabled: !chats }, chats ? name : `${name} (no chat)`);
}
