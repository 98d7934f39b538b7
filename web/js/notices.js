// notices: sentences above everything else. Each has an id and stays as it is until what it says changes; good news passes.

import { byId, make, refocus, say } from "./dom.js";
import { t } from "./words.js";

const PASSING_MILLISECONDS = 8000;
const shown = new Map();

/**
 * Show exactly these: [{id, kind: "bad" | "warn" | "info" | "good", text, isPressing, action: {text, run}, close: f}, ...].
 * What is pressing stays in view, wherever on the page one is.
 */
export function showNotices(wanted) {
  const ids = new Set(wanted.map((one) => one.id));
  for (const [id, element] of shown) {
    if (!ids.has(id)) { element.remove(); shown.delete(id); }
  }
  for (const one of wanted) {
    let element = shown.get(one.id);
    if (!element || element.dataset.kind !== one.kind) {
      element?.remove();
      element = make("div", { class: `notice ${one.kind}`, "data-kind": one.kind, "data-notice": one.id }, make("p", { dir: "auto" }));
      shown.set(one.id, element);
      if (one.kind === "good") pass(element);
    }
    const box = byId(one.isPressing ? "pressing" : "notices");
    if (element.parentElement !== box) box.append(element);
    say(element.firstChild, one.text);
    buttons(element, one);
  }
}

/** Good news goes by itself, but not while somebody is at it, nor before anybody could see it. */
function pass(element) {
  setTimeout(() => {
    if (!element.isConnected) return;
    if (element.done && !document.hidden && !element.matches(":hover, :focus-within")) element.done();
    else pass(element);
  }, PASSING_MILLISECONDS);
}

function buttons(element, { action, close }) {
  const key = `${action?.text ?? ""}|${close ? t("close") : ""}`;
  if (element.dataset.key !== key) {
    element.dataset.key = key;
    for (const old of element.querySelectorAll("button")) old.remove();
    if (action) element.append(make("button", { type: "button", class: "plain", onclick: () => element.act() }, action.text));
    if (close) element.append(make("button", { type: "button", class: "plain", onclick: () => { element.done(); refocus(null); } }, t("close")));
  }
  element.act = action?.run;
  element.done = close;
}
