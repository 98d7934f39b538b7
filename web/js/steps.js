// steps: promote, roll back, undo, and whether clients stay where they are.

import { ask } from "./ask.js";
import { differences, stickinessWords } from "./describe.js";
import { byId, fill, make, say, show } from "./dom.js";
import { moment, t } from "./words.js";

export class Steps {
  #draft = null; // stickiness that was chosen and not yet set

  /** @param does what carries steps out: promote(version, why, revision), rollBack(why, revision), undo(), stick(word). */
  constructor(does) {
    this.does = does;
    byId("promote").addEventListener("click", () => this.#promote());
    byId("rollback").addEventListener("click", () => this.#rollBack());
    // A double click would take the last change back, and then that.
    byId("undo").addEventListener("click", (event) => { if (event.detail < 2) does.undo(); });
    byId("sticky").addEventListener("change", (event) => { this.#draft = event.target.value; this.#renderSticky(); });
    byId("sticky-form").addEventListener("submit", (event) => this.#stick(event));
  }

  /** Forget what was chosen and not set. */
  clear() {
    this.#draft = null;
    byId("why").value = "";
  }

  render(page) {
    this.page = page;
    const { state, mayChange, isBusy, doing } = page;
    const { candidate } = state.snapshot;
    show(byId("promote"), mayChange && Boolean(candidate));
    show(byId("rollback"), mayChange && (Boolean(candidate) || state.snapshot.blend > 0));
    show(byId("undo"), mayChange && Boolean(state.undo));
    say(byId("promote"), doing === "promote" ? t("promote.doing") : t("promote.button"));
    for (const id of ["promote", "rollback", "undo"]) byId(id).disabled = isBusy;
    show(byId("steps-none"), mayChange && !candidate && !state.undo);
    say(byId("undo-says"), state.undo && state.undo.who !== undefined ? t("undo.says", {
      who: state.undo.who, when: moment(state.undo.at), what: differences(state.undo.from, state.undo.to).join(", "),
    }) : "");
    show(byId("why").parentElement, mayChange);
    show(byId("release"), mayChange || Boolean(state.undo));
    this.#renderSticky();
  }

  #renderSticky() {
    const { state, mayChange, isBusy } = this.page;
    const { default: usual, names } = state.strategies;
    const inForce = state.snapshot.stickiness;
    const word = !state.is_set_up ? "" : inForce === null ? "off" : inForce === usual ? "on" : inForce;
    say(byId("sticky-now"), !state.is_set_up ? "–" : word === "on" ? t("sticky.true", { name: usual }) : stickinessWords(word));
    show(byId("sticky"), mayChange);
    const options = ["off", "on", ...names.filter((name) => name !== usual)];
    const select = byId("sticky");
    fill(select, JSON.stringify([options, usual, t("sticky.true"), state.is_set_up]), () => [
      ...(state.is_set_up ? [] : [make("option", { value: "", disabled: true }, t("choose.nothing"))]),
      ...options.map((one) => make("option", { value: one }, one === "on" ? t("sticky.true", { name: usual }) : stickinessWords(one))),
    ]);
    if (this.#draft === word) this.#draft = null;
    select.value = this.#draft ?? word;
    select.disabled = isBusy;
    show(byId("sticky-set"), mayChange && this.#draft !== null);
    byId("sticky-set").disabled = isBusy;
  }

  async #stick(event) {
    event.preventDefault();
    if (this.#draft !== null && await this.does.stick(this.#draft)) this.#draft = null;
  }

  async #promote() {
    const { snapshot: { stable, candidate, blend }, revision } = this.page.state;
    if (!candidate) return;
    const names = { stable: stable?.version ?? t("none"), candidate: candidate.version, blend };
    const why = await ask({
      title: t("promote.title", names), yes: t("promote.yes"), kind: "go",
      lines: [t("promote.what", names), ...(stable ? [t("promote.stable", names)] : []), t("promote.candidate", names), t("promote.after", names)],
    });
    if (why !== null) this.does.promote(candidate.version, why, revision);
  }

  async #rollBack() {
    const { snapshot: { stable, candidate, blend }, revision } = this.page.state;
    const names = { stable: stable?.version ?? t("none"), candidate: candidate?.version ?? t("none"), blend };
    const why = await ask({
      title: t("rollback.title", names), yes: t("rollback.yes"), kind: "warn",
      lines: [t("rollback.what", names), t("rollback.candidate", names), t("rollback.flight", names)],
    });
    if (why !== null) this.does.rollBack(why, revision);
  }
}
