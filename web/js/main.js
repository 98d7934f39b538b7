// main: puts the page together. Holds what is known (`page`), and says who renders what.

import { Api, Problem } from "./api.js";
import { unask } from "./ask.js";
import { differences } from "./describe.js";
import { byId, refocus, say, show, visible } from "./dom.js";
import { Feed } from "./feed.js";
import { renderHistory } from "./history.js";
import { showNotices } from "./notices.js";
import { ROLES, Series } from "./series.js";
import { refusal, Setup } from "./setup.js";
import { Split } from "./split.js";
import { Steps } from "./steps.js";
import { renderStore, told } from "./told.js";
import { VersionPanel } from "./version.js";
import { currentLanguage, preferredLanguage, speak, t } from "./words.js";

const api = new Api();
const page = {
  view: "loading", // or "setup", "manage"
  session: null, state: null, versions: [], history: [], series: new Series(), inFlight: {},
  isLive: null, lostAt: null, // whether events come, and since when not
  doing: null, // the write that is under way, by its name
  asked: null, // {revision, settings}: what the store has, and the router does not follow yet
  said: null, // {kind, text, isOfStore}: what the last step came to, and whether only an absent store was in its way
  entering: null, // the sign-in that is under way
  code: null, // the operator token that a first sign-in made, shown once
  get mayChange() { return this.session?.role === "operator"; },
  get isBusy() { return this.doing !== null; },
};

const feed = new Feed(heard, (isLive) => {
  page.isLive = isLive;
  page.lostAt = isLive ? null : Date.now() / 1000;
  render();
}, mayReturn);

const panels = [...document.querySelectorAll("section.version")].map((section) => new VersionPanel(section, choose, loadVersions));
const split = new Split((blend) => write("blend", "PUT", "settings/blend", { blend }));
const steps = new Steps({
  promote: (version, why, seen) => write("promote", "POST", "promote", { version, why }, seen),
  rollBack: (why, seen) => write("rollback", "POST", "rollback", { why }, seen),
  undo: () => write("undo", "POST", "undo", {}),
  stick: (stickiness) => write("stickiness", "PUT", "settings/stickiness", { stickiness }),
});
const setup = new Setup(signIn, leaveSetup);

// Signing in and out

/** Null, or what was wrong. */
async function signIn(wanted) {
  try {
    page.entering = api.signIn(wanted);
    const session = await page.entering;
    page.code = session.token ?? null;
    page.said = null;
    wantsFocus = true;
    if (location.hash === SETUP) clearHash();
    enter(session, true);
    return null;
  } catch (wrong) {
    tell("bad", refusal(wrong));
    return wrong;
  } finally {
    page.entering = null;
  }
}

function enter(session, isNew = false) {
  page.session = session;
  if (!session.signed_in) {
    feed.stop();
    openSetup();
  } else {
    if (location.hash === SETUP) openSetup();
    else page.view = page.state ? "manage" : "loading";
    if (isNew || page.isLive === null) feed.start();
  }
  render();
  focusSettings();
}

function openSetup() {
  const wasOpen = page.view === "setup", isFirst = page.view === "loading";
  page.view = "setup";
  unask();
  setup.open(page.session);
  render();
  if (!wasOpen && !isFirst) byId("setup-title").focus();
}

function leaveSetup() {
  clearHash();
  wantsFocus = true;
  enter(page.session);
}

const SETUP = "#setup"; // in the address, so that the browser's Back leads from there to the settings
const clearHash = () => history.replaceState(null, "", location.pathname + location.search);

/** The address says where one is; `#main`, the skip link's, says nothing. */
async function moved() {
  if (location.hash.startsWith("#code=")) await takeCode();
  else if (page.session?.signed_in && location.hash === SETUP) openSetup();
  else if (page.session?.signed_in && location.hash === "" && page.view === "setup") leaveSetup();
}

let wantsFocus = false; // who has just come in goes on at the settings, as soon as they are there
function focusSettings() {
  if (!wantsFocus || page.view !== "manage") return;
  wantsFocus = false;
  byId("split-title").focus();
}

async function signOut() {
  feed.stop();
  await attempt(() => api.signOut());
  forget();
  await begin();
}

function forget() {
  Object.assign(page, { session: null, state: null, versions: [], history: [], inFlight: {}, isLive: null, asked: null, code: null });
  for (const one of [page.series, split, steps, ...panels]) one.clear();
}

/** After the event stream was refused: whether it is worth trying again. */
async function mayReturn() {
  try {
    await page.entering; // a new sign-in ends the old session, and its events
  } catch { /* that one went wrong; the old session may be alive */ }
  try {
    const session = await api.session();
    if (session.signed_in) {
      page.session = session; // another one perhaps, of another tab
      const state = await attempt(() => api.status()); // steering must not wait for a stream that is refused
      if (state) heard("state", state);
      else render();
      return true;
    }
    const wasIn = page.session?.signed_in;
    forget();
    if (wasIn) tell("warn", t("session-ended"));
    enter(session);
    return false;
  } catch {
    return true; // the router is away, which passes
  }
}

// What the router tells

function heard(name, told) {
  if (name === "state") takeState(told);
  else if (name === "series") takeSeries(told);
  else if (name === "sample") takeSample(told);
  else if (name === "history") takeEntry(told);
  if (name !== "sample") render();
  if (name === "state") focusSettings();
  if (name !== "state") renderFigures();
}

/** Comes once a connection; what was changed before it nobody told us. */
function takeSeries(series) {
  page.series.takeAll(series);
  loadHistory();
}

function takeState(state) {
  const known = page.state;
  // What a write was answered may have overtaken what was on its way.
  if (known?.router.run === state.router.run && known.now > state.now && known.now < state.now + 60) return;
  const isOther = page.state?.revision !== state.revision;
  page.state = state;
  if (known) dropOutdated(known.store.state === "there", state.store.state === "there");
  page.series.changed(state);
  for (const role of ROLES) page.inFlight[role] = flights(state.snapshot[role]?.instances);
  if (page.asked && state.in_force && (page.asked.revision === state.revision || (isOther && page.asked.basedOn !== state.revision))) page.asked = null;
  if (page.view === "loading") page.view = "manage";
  loadVersions();
}

/** What was said of a step, and is no longer so: that the store was away, or that all is well. */
function dropOutdated(wasThere, isThere) {
  if (wasThere !== isThere && (isThere ? page.said?.isOfStore : page.said?.kind === "good")) page.said = null;
}

function takeSample(sample) {
  page.series.take(sample);
  let isOther = false;
  for (const role of ROLES) {
    const told = sample[role], known = page.state?.snapshot[role];
    if (!told) continue;
    page.inFlight[role] = flights(told.instances);
    if (known?.version !== told.version) continue;
    // Which instances can serve changes without any change of the settings.
    isOther ||= JSON.stringify(health(known.instances)) !== JSON.stringify(health(told.instances));
    known.instances = told.instances;
  }
  if (isOther) render();
  else if (page.state) for (const panel of panels) panel.render(page);
}

const health = (instances) => instances.map((one) => [one.address, one.usable]);
const flights = (instances) => new Map((instances ?? []).map((one) => [one.address, one.in_flight]));

const isIn = (list, entry) => list.some((one) => one.at === entry.at && one.after === entry.after);

function takeEntry(entry) {
  if (!isIn(page.history, entry)) page.history = [entry, ...page.history];
}

// A new deployment changes no setting, so nothing else would bring it into the lists.
const VERSIONS_MILLISECONDS = 10_000;
setInterval(() => { if (page.view === "manage" && page.isLive && !document.hidden) loadVersions(); }, VERSIONS_MILLISECONDS);

let wanted = 0;
async function loadVersions() {
  const mine = ++wanted;
  const found = await attempt(() => api.versions());
  if (!found || mine !== wanted) return;
  page.versions = found.versions;
  render();
}

async function loadHistory() {
  const known = page.history;
  const found = (await attempt(() => api.history()))?.history;
  if (!found) return;
  // What was told meanwhile may be newer than the answer.
  page.history = [...page.history.filter((one) => !isIn(known, one) && !isIn(found, one)), ...found];
  render();
}

async function attempt(call) {
  try { return await call(); } catch { return null; } // the notices say what is wrong with the store and the router
}

// What people do

function choose(role, body) {
  if (page.state.is_set_up) return write(role, "PUT", `settings/${role}`, body);
  const whole = { [role]: body.version };
  if (body.port) whole.port = body.port;
  return write("setup", "PUT", "settings", whole);
}

/** One change, based on the revision that was `seen`. True when the store has it. */
async function write(doing, method, path, body, seen = page.state?.revision) {
  if (page.isBusy || !page.state) return false;
  if (!page.state.is_set_up && path.startsWith("settings/")) { path = "settings"; doing = "setup"; }
  const why = byId("why").value.trim();
  if (why && !body.why) body = { ...body, why };
  page.doing = doing;
  page.said = { kind: "info", text: t(`doing.${doing}`) };
  const focused = document.activeElement;
  render();
  try {
    const answer = await api.write(method, path, body, seen);
    if (isFresh(answer.state)) page.state = answer.state;
    page.asked = answer.in_force ? null : { revision: answer.revision, settings: answer.settings, basedOn: seen };
    page.said = answer.trouble
      ? { kind: "warn", text: t("done-but", { detail: answer.trouble }) }
      : { kind: "good", text: t(answer.changed ? `done.${doing}` : "done.nothing") };
    byId("why").value = "";
    loadHistory();
    loadVersions();
    return true;
  } catch (wrong) {
    await refused(wrong);
    return false;
  } finally {
    page.doing = null;
    render();
    // Once the caller has taken back its draft, what can be pressed is known.
    setTimeout(() => { render(); refocus(focused); });
  }
}

const isFresh = (state) => state && state.snapshot && state.now >= (page.state?.now ?? 0);

async function refused(wrong) {
  if (wrong instanceof Problem && wrong.code === "stale") {
    if (isFresh(wrong.body.state)) page.state = wrong.body.state;
    await loadHistory();
    const last = page.history[0];
    const detail = last && last.after === wrong.body.revision
      ? t("stale.by", { who: last.who, what: differences(last.from, last.to).join(", ") }) : "";
    page.said = { kind: "warn", text: t("problem.stale", { detail }) };
  } else if (wrong instanceof Problem && wrong.code === "sign-in-needed") {
    page.said = null;
    await mayReturn();
  } else {
    if (wrong instanceof Problem && wrong.code === "cross-site") await mayReturn(); // another tab may have signed in anew
    page.said = { kind: "bad", text: refusal(wrong), isOfStore: wrong.code === "store-lost" };
  }
}

function tell(kind, text) {
  page.said = { kind, text };
  render();
}

// The screen

function render() {
  const { view, session, state } = page;
  show(byId("loading"), view === "loading");
  show(byId("setup"), view === "setup");
  show(byId("manage"), view === "manage");
  show(byId("sign-out"), Boolean(session?.signed_in));
  show(byId("to-setup"), view === "manage");
  say(byId("who"), session?.signed_in ? t("who", { name: session.name, role: t(`who.${session.role}`) }) : "");
  say(byId("app"), session?.app ?? "");
  const port = state?.snapshot.stable?.port ?? state?.snapshot.candidate?.port ?? session?.port;
  say(byId("app-port"), session?.signed_in && port ? t("app-port", { port }) : "");
  document.title = session?.app ? `${visible(session.app)} · ${t("title")}` : t("title");
  renderLive();
  showNotices(told(page, {
    closeCode: () => { page.code = null; render(); },
    closeSaid: () => { page.said = null; render(); },
    create: () => write("setup", "PUT", "settings", {}),
  }));
  if (view === "setup") setup.render();
  if (view !== "manage" || !state) return;
  for (const panel of panels) panel.render(page);
  split.render(page);
  steps.render(page);
  renderStore(page);
  renderHistory(page);
  renderFigures();
  say(byId("router-version"), t("router-version", { version: state.router.version, workers: state.router.workers }));
}

function renderFigures() {
  if (page.view !== "manage" || !page.state || document.hidden) return;
  for (const panel of panels) {
    const instances = [...(page.inFlight[panel.role] ?? new Map())].map(([address, in_flight]) => ({ address, in_flight }));
    panel.renderFigures(page.series, instances);
  }
  split.renderFigures(page);
}

function renderLive() {
  const live = byId("live");
  show(live, page.view === "manage");
  live.classList.toggle("off", page.isLive === false);
  say(live, page.isLive === false ? t("live.off") : page.isLive ? t("live.on") : t("live.wait"));
}

// The start

async function takeCode() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (!code) return;
  clearHash(); // it must not stay in the address bar
  await signIn({ code });
}

async function begin() {
  for (;;) {
    try {
      const session = await api.session();
      if (page.said?.id === "away") page.said = null;
      return enter(session);
    } catch {
      page.said = { id: "away", kind: "bad", text: t("problem.unreachable") };
      render();
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}

function chooseTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("theme", theme); } catch { /* it lasts as long as the page */ }
}

byId("theme").value = document.documentElement.dataset.theme ?? "auto";
byId("theme").addEventListener("change", (event) => chooseTheme(event.target.value));
byId("language").addEventListener("change", async (event) => {
  page.said = null;
  await attempt(() => speak(event.target.value));
  event.target.value = currentLanguage();
  render();
});
byId("sign-out").addEventListener("click", signOut);
byId("to-setup").addEventListener("click", () => { history.pushState(null, "", SETUP); openSetup(); });
addEventListener("hashchange", moved);
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); }); // the browser had put it aside
document.addEventListener("visibilitychange", renderFigures);

while (!(await attempt(() => speak(preferredLanguage()).then(() => true)))) await new Promise((resolve) => setTimeout(resolve, 2000));
byId("language").value = currentLanguage();
render();
if (!(await takeCode(), page.session)) await begin();
