// setup: the screen where one signs in. Keeps what was entered, but no secret, for this browser's session.

import { Problem } from "./api.js";
import { byId, say, show } from "./dom.js";
import { has, t } from "./words.js";

const KEPT = "setup";
const FIELDS = ["host", "bearer", "port", "token"];

export class Setup {
  #way = null;
  #isBusy = false;

  /** @param signIn async, with what to send; gives null, or what was wrong.   @param goBack to the settings. */
  constructor(signIn, goBack) {
    this.signIn = signIn;
    for (const way of ["occs", "token"]) {
      byId(`way-${way}`).addEventListener("click", () => this.#take(way));
      byId(`${way}-form`).addEventListener("submit", (event) => this.#submit(event, way));
    }
    for (const button of document.querySelectorAll("#setup .back")) button.addEventListener("click", goBack);
    for (const id of ["host", "port"]) byId(id).addEventListener("input", () => this.#keep());
    for (const id of FIELDS) byId(id).addEventListener("input", () => byId(id).setAttribute("aria-invalid", false));
  }

  open(session) {
    this.session = session;
    const { ways } = session.sign_in;
    if (!ways.includes(this.#way)) this.#way = ways[0];
    const kept = restore();
    const fixed = Boolean(session.sign_in.host_is_fixed);
    byId("host").readOnly = fixed;
    byId("host").value = fixed ? session.sign_in.host : byId("host").value || kept.host || "";
    byId("app-name").value = session.app;
    if (!byId("port").value) byId("port").value = session.port ?? kept.port ?? "";
    this.render();
  }

  render() {
    if (!this.session) return;
    const { ways, host_is_fixed: fixed } = this.session.sign_in;
    show(byId("ways"), ways.length > 1);
    say(byId("host-hint"), t(fixed ? "setup.host-fixed" : "setup.host-hint"));
    for (const way of ["occs", "token"]) {
      show(byId(`${way}-form`), this.#way === way);
      byId(`way-${way}`).setAttribute("aria-pressed", this.#way === way);
    }
    for (const button of document.querySelectorAll("#setup .back")) show(button, this.session.signed_in);
    for (const button of document.querySelectorAll("#setup button[type=submit]")) {
      button.disabled = this.#isBusy;
      say(button, this.#isBusy ? t("setup.trying") : t("ok"));
    }
  }

  #take(way) {
    this.#way = way;
    this.render();
    byId(way === "occs" ? (this.session.sign_in.host_is_fixed ? "bearer" : "host") : "token").focus();
  }

  async #submit(event, way) {
    event.preventDefault();
    if (this.#isBusy) return;
    const wanted = way === "token" ? { token: byId("token").value.trim() } : this.#occs();
    if (!wanted) return;
    this.#isBusy = true;
    this.render();
    const wrong = await this.signIn(wanted);
    this.#isBusy = false;
    this.render();
    if (wrong) this.#point(wrong, way);
    else byId("token").value = byId("bearer").value = "";
  }

  /** To the field that is to be entered anew. */
  #point(wrong, way) {
    if (!(wrong instanceof Problem)) return;
    const named = wrong.code === "host-silent" ? "host" : wrong.body.field;
    const mine = byId(FIELDS.includes(named) ? named : way === "token" ? "token" : "bearer");
    mine.setAttribute("aria-invalid", true);
    mine.focus();
  }

  #occs() {
    const wanted = { bearer: byId("bearer").value.trim() };
    const host = byId("host").value.trim();
    // The tutorial's reader types a bare address.
    if (!this.session.sign_in.host_is_fixed && host) wanted.host = host.includes("://") ? host : `https://${host}`;
    const port = byId("port").value.trim();
    if (port) wanted.port = /^\d{1,5}$/.test(port) ? Number(port) : port;
    return wanted;
  }

  #keep() {
    try { sessionStorage.setItem(KEPT, JSON.stringify({ host: byId("host").value, port: byId("port").value })); } catch { /* blocked */ }
  }
}

function restore() {
  try { return JSON.parse(sessionStorage.getItem(KEPT)) ?? {}; } catch { return {}; }
}

/** Why somebody could not sign in, or could not do something, in words. */
export function refusal(wrong) {
  if (!(wrong instanceof Problem)) return t("problem.no-answer");
  const key = `problem.${wrong.code}`;
  return has(key) ? t(key, { detail: wrong.message, n: wrong.body.retry_after ?? "" }) : t("problem.other", { detail: wrong.message });
}
