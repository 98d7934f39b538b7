// describe: settings and changes in words. No element is touched here.

import { number, t } from "./words.js";

export const NONE = "rolling/null";

/** A role's value in the settings of a history entry: version's id, the bad text, or none. */
function roleWords(value) {
  if (value === null || value === undefined) return t("none");
  if ("version" in value) return value.version;
  return value.text ?? t("absent");
}

function plainWords(value) {
  if (value !== null && typeof value === "object") return value.text ?? t("absent");
  return String(value);
}

export const stickinessWords = (word) => (word === "off" ? "false" : word === "on" ? "true" : word);

/** What differs between two settings, one sentence each: ["blend 5 → 25", ...]. */
export function differences(from, to) {
  const words = [];
  for (const role of ["stable", "candidate"]) {
    const [before, after] = [roleWords(from[role]), roleWords(to[role])];
    const portMoved = from[role]?.port !== to[role]?.port && before === after && before !== t("none");
    if (before !== after) words.push(t("diff", { name: t(`role.${role}`), before, after }));
    else if (portMoved) words.push(t("diff", { name: `${t(`role.${role}`)} ${t("port")}`, before: from[role].port, after: to[role].port }));
  }
  const blends = [plainWords(from.blend), plainWords(to.blend)];
  if (blends[0] !== blends[1]) words.push(t("diff", { name: t("blend.label"), before: blends[0], after: blends[1] }));
  const sticks = [stickinessWords(plainWords(from.stickiness)), stickinessWords(plainWords(to.stickiness))];
  if (sticks[0] !== sticks[1]) words.push(t("diff", { name: t("sticky.label"), before: sticks[0], after: sticks[1] }));
  return words;
}

/** How many of them a percentage is, as people say it: "about 1 in 20".   @param kind "sticky": of visitors; "plain": of requests. */
export function shareWords(percent, kind) {
  if (percent === 50) return t(`share.${kind}.half`);
  const n = Math.round(100 / percent);
  const isNear = percent < 50 && Math.abs(100 / n - percent) <= percent / 20;
  const [words, said] = !isNear ? ["of-hundred", percent] : [100 % percent === 0 ? "one-in" : "about-one-in", n];
  return t(`share.${kind}.${words}`, { n: number(said) });
}

/** What a blend will do, before it is set. */
export function forecast(percent, snapshot) {
  const candidate = snapshot.candidate?.version, stable = snapshot.stable?.version ?? t("none");
  if (!candidate) return t("forecast.no-candidate");
  const kind = snapshot.stickiness ? "sticky" : "plain";
  const names = { stable, candidate, share: percent > 0 && percent < 100 ? shareWords(percent, kind) : "" };
  if (percent === 0) return t(`forecast.${kind}.zero`, names);
  if (percent === 100) return t(`forecast.${kind}.all`, names);
  return t(`forecast.${kind}.some`, names);
}
