// series: the last 15 minutes of figures, one place a second. Fed by `feed`, read by the charts.

export const WINDOW_SECONDS = 900;
const SPANS = [120, 300, WINDOW_SECONDS];
const FIGURES = ["requests", "errors", "cut", "p50", "p95", "p99"];
export const ROLES = ["stable", "candidate"];

export class Series {
  #changes = []; // {at, stable, candidate}: which versions had the roles from then on
  #points = new Map(); // second -> sample; a Map keeps them in their order of coming, which is that of time
  newest = null;

  clear() {
    this.#points.clear();
    this.#changes = [];
    this.newest = null;
  }

  /** Take the event `series`. */
  takeAll(series) {
    if (series.complete) this.clear();
    for (const { at, stable, candidate } of series.rollout) this.#note(at, stable, candidate);
    if (series.from === null) return;
    for (let at = series.from, place = 0; at <= series.to; at += series.step, place++) {
      this.#put(at, {
        stable: pick(series.stable, place),
        candidate: pick(series.candidate, place),
        asked: counts(series.asked, place),
        served: counts(series.served, place),
        reasons: counts(series.reasons, place),
      });
    }
  }

  /** Take the event `sample`. */
  take(sample) { this.#put(sample.at, sample); }

  /** Take a state: which versions have the roles now. */
  changed({ now, snapshot: { stable, candidate } }) {
    this.#note(Math.floor(now), stable?.version ?? null, candidate?.version ?? null);
  }

  #note(at, stable, candidate) {
    const last = this.#changes.at(-1);
    if (last && (at < last.at || (last.stable === stable && last.candidate === candidate))) return;
    this.#changes.push({ at, stable, candidate });
    while (this.#changes[1]?.at <= at - WINDOW_SECONDS) this.#changes.shift();
  }

  /** When a role got another version within the last so many seconds: [{at, version or null}, ...]. */
  changes(role, seconds) {
    return this.#changes
      .map((one, place) => ({ at: one.at, version: one[role], before: this.#changes[place - 1] }))
      .filter(({ at, version, before }) => before && before[role] !== version && at > this.newest - seconds)
      .map(({ at, version }) => ({ at, version }));
  }

  /** How many seconds the charts show: little is known at first, and would be a dot at the edge of a quarter of an hour. */
  get span() {
    const first = this.#points.keys().next().value ?? this.newest;
    return SPANS.find((span) => span > this.newest - first) ?? WINDOW_SECONDS;
  }

  #put(at, point) {
    this.#points.set(at, point);
    if (this.newest === null || at > this.newest) this.newest = at;
    for (const old of this.#points.keys()) {
      if (old > this.newest - WINDOW_SECONDS) break;
      this.#points.delete(old);
    }
  }

  /** What happened in the last so many seconds, as sums. */
  sums(seconds) {
    const sums = { seconds: 0, stable: zero(), candidate: zero(), asked: {}, served: {}, reasons: {} };
    for (let at = this.newest - seconds + 1; at <= this.newest; at++) {
      const point = this.#points.get(at);
      if (!point?.stable) continue;
      sums.seconds++;
      for (const role of ROLES) {
        for (const name of ["requests", "errors", "cut"]) sums[role][name] += point[role]?.[name] ?? 0;
      }
      for (const kind of ["asked", "served", "reasons"]) add(sums[kind], point[kind] ?? {});
    }
    return sums;
  }

  /**
   * One figure of one role over the last `span` seconds, in steps of `step`: an array, null where nothing is known.
   * Percentiles are not averaged: the greatest of a step stands for it.
   */
  line(role, figure, step, span = WINDOW_SECONDS) {
    const line = [];
    if (this.newest === null) return line;
    const end = this.newest - (this.newest % step) + step;
    for (let from = end - span; from < end; from += step) line.push(this.#place(role, figure, from, step));
    return line;
  }

  #place(role, figure, from, step) {
    let known = 0, sum = 0, base = 0, greatest = null;
    for (let at = from; at < from + step; at++) {
      const point = this.#points.get(at)?.[role];
      if (!point) continue;
      known++;
      base += point.requests ?? 0;
      if (figure === "errorShare") sum += (point.errors ?? 0) + (point.cut ?? 0);
      else if (figure === "requests") sum += point.requests ?? 0;
      else if (point[figure] !== null && point[figure] !== undefined) greatest = Math.max(greatest ?? 0, point[figure]);
    }
    if (!known) return null;
    if (figure === "requests") return sum / known;
    if (figure === "errorShare") return base ? Math.min(1, sum / base) : null;
    return greatest;
  }
}

const zero = () => ({ requests: 0, errors: 0, cut: 0 });

function pick(arrays, place) {
  if (arrays.requests[place] === null || arrays.requests[place] === undefined) return null;
  return Object.fromEntries(FIGURES.map((name) => [name, arrays[name]?.[place] ?? null]));
}

const counts = (arrays, place) =>
  Object.fromEntries(Object.entries(arrays ?? {}).map(([name, values]) => [name, values[place] ?? 0]));

function add(sums, more) {
  for (const [name, value] of Object.entries(more)) sums[name] = (sums[name] ?? 0) + (value ?? 0);
}
