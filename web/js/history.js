// history: who changed what, when and why.

import { differences } from "./describe.js";
import { byId, fill, make, say, show } from "./dom.js";
import { has, moment, t } from "./words.js";

export function renderHistory(page) {
  const { history, state } = page;
  show(byId("history-box"), history.length > 0);
  show(byId("history-none"), history.length === 0);
  say(byId("history-none"), t(state.has_history ? "history.none" : "history.not-kept"));
  fill(byId("history"), JSON.stringify([history.map((one) => [one.at, one.after]), t("history.title")]), () => history.map(row));
}

function row(entry) {
  const what = has(`what.${entry.what}`) ? t(`what.${entry.what}`) : entry.what;
  const changes = entry.from && entry.to ? differences(entry.from, entry.to) : [];
  return make("tr", {},
    make("td", {}, make("time", { datetime: new Date(entry.at * 1000).toISOString() }, moment(entry.at))),
    make("td", { dir: "auto" }, entry.who),
    make("td", { dir: "auto" }, make("strong", {}, what), ...changes.map((one) => make("div", { dir: "auto" }, one))),
    make("td", { dir: "auto" }, entry.why));
}
