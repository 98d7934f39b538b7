// words: the page's language. Texts live in locales/, one JSON object each: key -> sentence with {names}.

import { quoted } from "./dom.js";

const LANGUAGES = ["en", "ko"];
let texts = {};
let language = "en";

export const currentLanguage = () => language;

/** The language that was chosen before, else the browser's, else English. */
export function preferredLanguage() {
  let chosen = null;
  try { chosen = localStorage.getItem("language"); } catch { /* storage is blocked */ }
  const wanted = [chosen, ...navigator.languages].filter(Boolean).map((one) => one.slice(0, 2));
  return wanted.find((one) => LANGUAGES.includes(one)) ?? "en";
}

/** Load a language and put it into every element that has data-t. */
export async function speak(wanted) {
  const answer = await fetch(`locales/${wanted}.json`, { cache: "no-cache" });
  if (!answer.ok) throw new Error(`locales/${wanted}.json: ${answer.status}`);
  texts = await answer.json();
  language = wanted;
  try { localStorage.setItem("language", wanted); } catch { /* it is asked for again next time */ }
  document.documentElement.lang = wanted;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
}

/** A sentence of the language in use. A missing key shows itself: better an odd word than an empty button. */
export function t(key, values = {}) {
  const text = texts[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? quoted(values[name]) : whole));
}

export const has = (key) => key in texts;

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);

export const percent = (share, digits = 1) =>
  new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: digits }).format(share);

/** Seconds as people say them: 12 ms, 1.2 s. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return t("no-figure");
  return seconds < 1 ? `${number(seconds * 1000, seconds < 0.01 ? 1 : 0)} ms` : `${number(seconds, 1)} s`;
}

export const clock = (seconds) =>
  new Intl.DateTimeFormat(language, { timeStyle: "medium" }).format(new Date(seconds * 1000));

export const moment = (seconds) =>
  new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" }).format(new Date(seconds * 1000));
