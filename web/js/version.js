// version: the panel of one role: which version, how it does, its instances, and the choice of another.

import { draw, greatest, roundUp } from "./chart.js";
import { NONE } from "./describe.js";
import { fill, make, say, show } from "./dom.js";
import { ROLES } from "./series.js";
import { clock, duration, number, percent, t } from "./words.js";

const RECENT_SECONDS = 10;
const MOST_POINTS = 180;
const CHARTS = [
  { name: "requests", figures: ["requests"], least: 1, format: (value) => number(value, value < 10 ? 1 : 0) },
  { name: "errors", figures: ["errorShare"], least: 0.01, format: (value) => percent(value) },
  { name: "latency", figures: ["p99", "p95", "p50"], least: 0.005, format: duration },
];
const STATS = ["requests", "errors", "p50", "p95", "p99", "in-flight"];

export class VersionPanel {
  #draft = null; // the option that was chosen and not yet set

  /**
   * @param choose called with {version, port} or {version: null} when somebody sets another.
   * @param look called when somebody goes to the list: there may be other versions by now.
   */
  constructor(section, choose, look) {
    this.role = section.dataset.role;
    this.choose = choose;
    const id = (name) => `${this.role}-${name}`;
    this.title = make("h2", { id: id("title"), tabindex: "-1", "data-t": `role.${this.role}` });
    this.name = make("p", { class: "version-name", dir: "auto", id: id("name") });
    this.said = make("p", { class: "quiet" });
    this.stats = Object.fromEntries(STATS.map((name) => [name, make("dd")]));
    this.charts = Object.fromEntries(CHARTS.map(({ name }) => [name, document.createElementNS("http://www.w3.org/2000/svg", "svg")]));
    this.instances = make("ul", { class: "instances", id: id("instances") });
    this.instancesTitle = make("h3");
    this.select = make("select", { id: id("select"), onchange: () => this.#chosen(), onfocus: look, onpointerdown: look });
    this.set = make("button", { type: "submit", "data-t": "set", hidden: true });
    this.form = make("form", { novalidate: true, onsubmit: (event) => this.#submit(event) },
      make("label", { for: id("select"), "data-t": `choose.${this.role}` }), this.select, this.set);
    section.append(
      this.title, this.name, this.said,
      make("dl", { class: "stats" }, ...STATS.map((name) => make("div", {}, make("dt", { class: name, "data-t": `stat.${name}` }), this.stats[name]))),
      make("div", { class: "charts" }, ...CHARTS.map(({ name }) =>
        make("figure", {}, make("figcaption", { "data-t": `chart.${name}` }), this.charts[name]))),
      this.instancesTitle,
      make("div", { class: "scroll short", tabindex: "0", role: "region", "aria-labelledby": id("title") }, this.instances),
      this.form,
    );
  }

  /** Forget what was chosen and not set. */
  clear() { this.#draft = null; }

  render(page) {
    const { state } = page;
    const version = state.snapshot[this.role];
    say(this.name, !state.is_set_up ? "–" : version ? version.version : NONE);
    say(this.said, this.#role(state, version));
    this.#instances(version, page.inFlight[this.role]);
    this.#options(page, version);
    show(this.form, page.mayChange);
    for (const control of [this.select, this.set]) control.disabled = page.isBusy;
  }

  #role(state, version) {
    if (!state.is_set_up) return t("version.unset");
    if (!version) return t(`version.none.${this.role}`);
    if (!version.instances.length) return t("version.no-instances");
    const { blend, candidate, stickiness } = state.snapshot;
    return t(stickiness ? "version.share-new" : "version.share", { n: this.role === "candidate" ? blend : candidate ? 100 - blend : 100 });
  }

  /** The figures and charts; every second, so nothing else belongs here. */
  renderFigures(series, instances) {
    const sums = series.newest === null ? null : series.sums(RECENT_SECONDS);
    const { requests, errors, cut } = sums ? sums[this.role] : { requests: 0, errors: 0, cut: 0 };
    const known = sums?.seconds > 0;
    const rate = requests / sums?.seconds;
    say(this.stats.requests, known ? t("per-second", { n: number(rate, rate < 1000 ? 1 : 0) }) : t("no-figure"));
    say(this.stats.errors, requests ? percent((errors + cut) / requests) : t("no-figure"));
    this.stats.errors.parentElement.classList.toggle("bad", requests > 0 && (errors + cut) / requests > 0.01);
    for (const name of ["p50", "p95", "p99"]) {
      const line = known ? series.line(this.role, name, RECENT_SECONDS) : [];
      say(this.stats[name], duration(line.slice(-2).reduce((most, value) => value ?? most, null)));
    }
    say(this.stats["in-flight"], number((instances ?? []).reduce((sum, one) => sum + one.in_flight, 0)));
    for (const chart of CHARTS) this.#chart(chart, series);
  }

  #chart({ name, figures, least, format }, series) {
    const span = series.span, step = Math.ceil(span / MOST_POINTS);
    const lines = (role) => figures.map((figure) => series.line(role, figure, step, span));
    const own = lines(this.role);
    // One scale for both versions: side by side is for comparing.
    const most = roundUp(Math.max(least, ...ROLES.map((role) => greatest(lines(role)))));
    const newest = own.at(-1)?.findLast((value) => value !== null) ?? null;
    const label = t("chart.label", {
      name: t(`chart.${name}`), role: t(`role.${this.role}`),
      now: newest === null ? t("no-figure") : format(newest), most: format(greatest(own)), n: span / 60,
    });
    const marks = series.changes(this.role, span).map(({ at, version }) => ({
      share: 1 - (series.newest - at) / span, text: t("chart.mark", { when: clock(at), version: version ?? t("none") }),
    }));
    draw(this.charts[name], {
      marks,
      lines: own.map((values, place) => ({ values, style: `${this.role} ${figures[place]}` })),
      most, format, label, ends: [t("chart.start", { n: span / 60 }), t("chart.end")],
    });
  }

  #instances(version, inFlight) {
    const instances = version?.instances ?? [];
    show(this.instancesTitle, instances.length > 0);
    show(this.instances.parentElement, instances.length > 0);
    const down = instances.filter((one) => !one.usable).length;
    say(this.instancesTitle, t(down ? "instances.some-down" : "instances.title", { n: instances.length, down }));
    const key = JSON.stringify([instances.map((one) => [one.address, one.usable]), t("instance.usable")]);
    fill(this.instances, key, () => instances.map((one) =>
      make("li", { class: one.usable ? "up" : "down", "data-address": one.address },
        make("bdi", {}, one.address), " ",
        make("span", { class: "how" }, t(one.usable ? "instance.usable" : "instance.down")), " ",
        make("span", { class: "flight" }))));
    for (const item of this.instances.children) {
      const n = inFlight?.get(item.dataset.address) ?? 0;
      say(item.lastChild, t("instance.in-flight", { n }));
    }
  }

  // The choice

  #options(page, version) {
    const now = version ? key(version.version, version.port) : page.state.is_set_up ? key(null, null) : "";
    const entries = offered(page.versions, page.session?.port).map((one) => ({ key: key(one.version, one.port), one }));
    const shown = JSON.stringify([entries.map(({ key, one }) => [key, one.name, one.ready, one.instances, one.isOneOfSeveral]), now, t("none"), page.state.is_set_up]);
    fill(this.select, shown, () => {
      const options = entries.map(({ key, one }) => make("option", { value: key }, optionWords(one)));
      if (version && !entries.some((entry) => entry.key === now)) {
        options.unshift(make("option", { value: now }, `${version.version} (${version.version})`));
      }
      if (!page.state.is_set_up) options.unshift(make("option", { value: "", disabled: true }, t("choose.nothing")));
      options.push(make("option", { value: key(null, null) }, `${NONE} (${NONE})`));
      return options;
    });
    if (this.#draft !== null && ![...this.select.options].some((one) => one.value === this.#draft)) this.#draft = null;
    if (this.#draft === now) this.#draft = null;
    const wanted = this.#draft ?? now;
    if (this.select.value !== wanted) this.select.value = wanted;
    show(this.set, this.#draft !== null);
    this.now = now;
  }

  #chosen() {
    this.#draft = this.select.value === this.now ? null : this.select.value;
    show(this.set, this.#draft !== null);
  }

  async #submit(event) {
    event.preventDefault();
    if (this.#draft === null) return;
    const [version, port] = JSON.parse(this.#draft);
    const body = version === null ? { version: null } : port === null ? { version } : { version, port };
    if (await this.choose(this.role, body)) this.#draft = null;
  }
}

const key = (version, port) => JSON.stringify([version, port]);

/** Of a version with several ports, the one that was entered at the sign-in, if it is among them. */
function offered(versions, entered) {
  const ports = new Map();
  for (const { version, port } of versions) ports.set(version, [...(ports.get(version) ?? []), port]);
  return versions.flatMap((one) => {
    const all = ports.get(one.version);
    if (all.length < 2) return [one];
    if (all.includes(entered)) return one.port === entered ? [one] : [];
    return [{ ...one, isOneOfSeveral: true }];
  });
}

function optionWords(one) {
  const words = [`${one.version} (${one.name})`];
  if (one.isOneOfSeveral) words.push(t("app-port", { port: one.port ?? "?" }));
  if (one.ready === false) words.push(t("choose.not-ready"));
  else if (one.instances === 0) words.push(t("choose.no-instances"));
  return words.join(" · ");
}
