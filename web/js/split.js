// split: the blend as it was asked for and as it was served, and the control that sets it.

import { forecast } from "./describe.js";
import { byId, fill, make, say, show } from "./dom.js";
import { ROLES } from "./series.js";
import { number, percent, t } from "./words.js";

const QUICK = [0, 1, 5, 10, 25, 50, 100];
const RECENT_SECONDS = 60;

export class Split {
  #draft = null; // what was chosen and not yet set
  #isRefused = false; // what was typed is no percentage

  /** @param set called with a percentage. */
  constructor(set) {
    this.set = set;
    byId("blend-slider").addEventListener("input", (event) => this.#choose(Number(event.target.value)));
    byId("blend-number").addEventListener("input", (event) => this.#typed(event.target.value));
    byId("blend-reset").addEventListener("click", () => this.#choose(this.now));
    byId("blend-form").addEventListener("submit", (event) => this.#submit(event));
    for (const n of QUICK) {
      byId("blend-quick").append(make("button", { type: "button", class: "plain", "data-blend": n, onclick: () => this.#choose(n) }, `${n}%`));
    }
  }

  /** Forget what was chosen and not set. */
  clear() {
    this.#draft = null;
    this.#isRefused = false;
  }

  render(page) {
    this.page = page;
    this.now = page.state.snapshot.blend;
    if (this.#draft === this.now) this.#draft = null;
    byId("blend-quick").setAttribute("aria-label", t("blend.quick"));
    show(byId("blend-form"), page.mayChange);
    this.#renderControl();
  }

  #typed(text) {
    const value = Number(text);
    this.#isRefused = !/^\s*\d{1,3}\s*$/.test(text) || value > 100;
    if (this.#isRefused) this.#renderControl(true);
    else this.#choose(value, true);
  }

  #choose(value, isTyped = false) {
    this.#isRefused = false;
    this.#draft = value === this.now ? null : value;
    this.#renderControl(isTyped);
  }

  #renderControl(isTyped = false) {
    const value = this.#draft ?? this.now;
    const { state, isBusy } = this.page;
    const slider = byId("blend-slider"), box = byId("blend-number"), button = byId("blend-set");
    slider.value = value;
    slider.setAttribute("aria-valuetext", `${value}%`);
    if (!isTyped && document.activeElement !== box) box.value = state.is_set_up || this.#draft !== null ? value : "";
    else if (!isTyped && !this.#isRefused) box.value = value;
    box.setAttribute("aria-invalid", this.#isRefused);
    const isNew = !this.#isRefused && (this.#draft !== null || !state.is_set_up);
    say(byId("blend-says"), this.#isRefused ? t("blend.refused") : state.is_set_up || this.#draft !== null ? forecast(value, state.snapshot) : t("version.unset"));
    byId("blend-says").classList.toggle("bad", this.#isRefused);
    say(button, t("blend.set", { n: value }));
    button.disabled = isBusy || !isNew;
    show(byId("blend-reset"), this.#draft !== null);
    for (const one of byId("blend-quick").children) {
      one.setAttribute("aria-pressed", Number(one.dataset.blend) === value);
      one.disabled = isBusy;
    }
    slider.disabled = box.disabled = isBusy;
  }

  async #submit(event) {
    event.preventDefault();
    if (this.#isRefused || byId("blend-set").disabled) return;
    if (await this.set(this.#draft ?? this.now)) this.#draft = null;
  }

  /** Asked beside served; every second. */
  renderFigures(page) {
    const { state, series } = page;
    const blend = state.snapshot.candidate ? state.snapshot.blend : 0;
    const sums = series.newest === null ? null : series.sums(RECENT_SECONDS);
    const all = sums ? sums.stable.requests + sums.candidate.requests : 0;
    const served = all ? sums.candidate.requests / all : null;
    const rows = [
      { name: "asked", share: state.is_set_up ? blend / 100 : null },
      { name: "served", share: served },
    ];
    fill(byId("split-bars"), JSON.stringify([rows, t("split.asked"), t("split.served")]), () => rows.map(bar));
    say(byId("split-why"), all ? why(page, sums, served * 100 - blend) : "");
  }
}

function bar({ name, share }) {
  const row = make("div", { class: "split-row", "data-bar": name }, make("span", { class: "split-name" }, t(`split.${name}`)));
  if (share === null) {
    row.append(make("span", { class: "quiet" }, t(name === "asked" ? "version.unset" : "split.no-requests")));
    return row;
  }
  const track = make("span", { class: "track", "aria-hidden": "true" }, make("span", { class: "part" }));
  track.firstChild.style.width = `${share * 100}%`;
  show(track.firstChild, share > 0);
  row.append(track, make("span", { class: "split-figure" },
    t("split.figure", { candidate: percent(share), stable: percent(1 - share) })));
  return row;
}

function why({ state, series }, { stable, candidate, reasons }, points) {
  const all = stable.requests + candidate.requests;
  const isOff = Math.abs(points) >= 1;
  const words = [];
  if (reasons["candidate-down"]) words.push(t("split.candidate-down", { n: number(reasons["candidate-down"]) }));
  if (reasons["stable-down"]) words.push(t("split.stable-down", { n: number(reasons["stable-down"]) }));
  if (isOff && reasons.pinned) words.push(t("split.pinned", { share: percent(reasons.pinned / all, 0) }));
  // Pins alone do not explain what a version got that has its role no more.
  const isOther = ROLES.some((role) => series.changes(role, RECENT_SECONDS).length > 0);
  const isGone = !state.snapshot.candidate && candidate.requests > 0;
  if (isGone || (isOff && (isOther || !words.length))) words.push(t("split.settling"));
  return words.join(" ");
}
