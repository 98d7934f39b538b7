// ask: one question before something that moves visitors. Answers the reason that was typed, or null for no.

import { byId, make, say } from "./dom.js";

/** Take the question back, as with no: who asked is signed out. */
export const unask = () => byId("ask").close("no");

let takeBack = () => {}; // the question before: the browser tells of its end a frame later, when another may be open

export function ask({ title, lines, yes, kind }) {
  const dialog = byId("ask");
  say(byId("ask-title"), title);
  byId("ask-text").replaceChildren(...lines.map((line) => make("p", { dir: "auto" }, line)));
  byId("ask-why").value = byId("why").value;
  const button = byId("ask-yes");
  button.textContent = yes;
  button.className = kind;
  button.onclick = (event) => { if (event.detail > 1) event.preventDefault(); }; // the second half of a double click
  dialog.returnValue = "no";
  dialog.showModal();
  byId("ask-no").focus(); // the harmless answer is the one that Enter gives
  takeBack();
  return new Promise((resolve) => {
    takeBack = () => resolve(null);
    dialog.onclose = () => {
      if (!dialog.open) resolve(dialog.returnValue === "yes" ? byId("ask-why").value.trim() : null);
    };
  });
}
