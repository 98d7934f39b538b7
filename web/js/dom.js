// dom: making and finding elements. Texts are always set as text, never as HTML.

// Marks that change the direction of what follows, and control characters: a name must not rewrite its surroundings.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066\u2067\ufeff]/g;
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;
const [BEGIN, END] = ["\u2068", "\u2069"]; // between them a text has a direction of its own

const spelled = (one) => `\\u${one.codePointAt(0).toString(16).padStart(4, "0")}`;

/** A text as it may be shown: what cannot be seen in it is spelled out. */
export const visible = (text) => String(text).replace(UNSEEN, spelled);

/** A name as it may stand in a sentence: one that is written from right to left does not turn the rest around. */
export function quoted(name) {
  const text = visible(name).replace(/[\u2068\u2069]/g, spelled);
  return RIGHT_TO_LEFT.test(text) ? BEGIN + text + END : text;
}

export const byId = (id) => document.getElementById(id);

/** Make an element: make("p", {class: "hint", onclick: f}, "text", otherElement). */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) element.append(child instanceof Node ? child : visible(child));
  }
  return element;
}

/** Set a text only where it differs, so that screen readers do not read what has not changed. */
export function say(element, text) {
  const shown = visible(text);
  if (element.textContent !== shown) element.textContent = shown;
}

export function show(element, isShown) {
  if (element.hidden === isShown) element.hidden = !isShown;
}

const keys = new WeakMap();

/** Replace children only if what they show has changed; `key` says what they show. */
export function fill(element, key, makeChildren) {
  if (keys.get(element) === key) return;
  keys.set(element, key);
  element.replaceChildren(...makeChildren());
}

/** Give the focus back to an element that lost it by being disabled, hidden or removed; else to what it stood in. */
export function refocus(element) {
  const now = document.activeElement;
  if (now && now !== document.body && now.checkVisibility?.() !== false && !now.disabled) return;
  const isUsable = element?.isConnected && !element.disabled && element.offsetParent !== null;
  const around = element?.closest("section")?.querySelector("h2");
  (isUsable ? element : around?.offsetParent ? around : byId("main")).focus();
}
