// told: what stands above everything else, and the facts of the store: from what is known to sentences.

import { differences } from "./describe.js";
import { byId, fill, make } from "./dom.js";
import { ROLES } from "./series.js";
import { moment, t } from "./words.js";

const MOST_PROBLEMS = 5;

/**
 * The notices of this moment, for `notices`.
 * @param does what their buttons do: closeCode(), closeSaid(), create().
 */
export function told(page, does) {
  const list = [];
  const add = (id, kind, text, more = {}) => list.push({ id, kind, text, ...more });
  const { state, view } = page;
  if (page.code) add("token", "warn", t("token-once", { token: page.code }), { close: does.closeCode });
  if (view !== "setup" && page.isLive === false) add("live", "bad", t("live.lost", { since: moment(page.lostAt) }), { isPressing: true });
  if (view === "manage" && state) {
    storeNotices(state, add);
    if (!state.is_set_up && state.revision !== null) {
      add("unset", "warn", t("unset", { app: state.app }), page.mayChange ? { action: { text: t("unset.create"), run: does.create } } : {});
    } else {
      keyNotices(state, add);
      healthNotices(state, add);
    }
    askedNotice(page, add);
  }
  if (page.said) add("said", page.said.kind, page.said.text, { isPressing: true, ...(page.isBusy ? {} : { close: does.closeSaid }) });
  return list;
}

function storeNotices({ store, router }, add) {
  const since = store.lost_at ? moment(store.lost_at) : "";
  if (store.state === "lost") add("store", "bad", t("store.notice-lost", { since, why: store.trouble }));
  if (store.state === "saved") add("store", "bad", t("store.notice-saved", { since: moment(store.read_at), why: store.trouble }));
  if (store.state === "waiting") add("store", "warn", t("store.notice-waiting", { why: store.trouble ?? "" }));
  if (router.draining) add("draining", "warn", t("draining"));
}

function keyNotices({ snapshot: { problems } }, add) {
  problems.slice(0, MOST_PROBLEMS).forEach(({ key, value, text }, place) =>
    add(`problem-${place}`, "warn", t("key-problem", { key, value: value === null ? t("absent") : value.slice(0, 100), text })));
  if (problems.length > MOST_PROBLEMS) add("problems", "warn", t("more-problems", { n: problems.length - MOST_PROBLEMS }));
}

function healthNotices({ snapshot }, add) {
  for (const role of ROLES) {
    const instances = snapshot[role]?.instances ?? [];
    const down = instances.filter((one) => !one.usable).length;
    if (down) add(`down-${role}`, down === instances.length ? "bad" : "warn", t(`down.${role}`, { version: snapshot[role].version, down, n: instances.length }));
  }
}

function askedNotice({ asked, state }, add) {
  if (!asked && state.in_force) return;
  const wanted = asked ? differences(inForce(state), asked.settings).join(", ") : "";
  add("asked", "info", t("asked", { what: wanted || t("asked.same") }), { isPressing: true });
}

/** The snapshot in force, in the words of a history entry. */
function inForce({ snapshot, strategies }) {
  const sticky = snapshot.stickiness;
  return { stable: snapshot.stable, candidate: snapshot.candidate, blend: snapshot.blend,
    stickiness: sticky === null ? "off" : sticky === strategies.default ? "on" : sticky };
}

export function renderStore({ state: { store, revision } }) {
  const facts = [
    [t("store.where"), store.description], [t("store.state"), t(`store.${store.state}`)],
    [t("store.changed"), store.changed_at ? moment(store.changed_at) : t("no-figure")],
    // A watched store that says nothing has nothing new: only of one that is away does it matter when it was read.
    ...(["lost", "saved"].includes(store.state) && store.read_at ? [[t("store.read"), moment(store.read_at)]] : []),
    [t("store.revision"), revision ?? t("no-figure")],
  ];
  fill(byId("store"), JSON.stringify(facts), () =>
    facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", { dir: "auto" }, value)]));
}
