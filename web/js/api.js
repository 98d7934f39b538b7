// api: the settings port's JSON API, as docs/api.md has it. The only caller of fetch besides `words`.

const LIMIT_MILLISECONDS = 20000;

/** What the API refused. `code` is for programs, `message` a sentence for people; `body` has the rest. */
export class Problem extends Error {
  constructor(body, status) {
    super(body.detail ?? body.title ?? `HTTP ${status}`);
    this.code = body.code ?? "unknown";
    this.status = status;
    this.body = body;
  }
}

/** There was no usable answer at all. */
export class Unreachable extends Error {}

export class Api {
  #csrf = null;

  session() { return this.#keepCsrf(this.#call("GET", "session")); }
  signIn(with_) { return this.#keepCsrf(this.#call("POST", "session", { body: with_ })); }
  async signOut() { await this.#call("DELETE", "session"); this.#csrf = null; }
  status() { return this.#call("GET", "status"); }
  versions() { return this.#call("GET", "versions"); }
  history() { return this.#call("GET", "history?limit=100"); }

  /** Any write: based on the revision that the person saw. */
  write(method, path, body, revision) { return this.#call(method, path, { body, revision }); }

  async #keepCsrf(call) {
    const session = await call;
    this.#csrf = session.csrf;
    return session;
  }

  async #call(method, path, { body, revision } = {}) {
    const headers = { Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (revision) headers["If-Match"] = `"${revision}"`;
    if (method !== "GET" && this.#csrf) headers["X-CSRF-Token"] = this.#csrf;
    let answer, text;
    try {
      answer = await fetch(`api/v1/${path}`, {
        method, headers, cache: "no-store", credentials: "same-origin", redirect: "error",
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: AbortSignal.timeout(LIMIT_MILLISECONDS),
      });
      text = await answer.text();
    } catch (wrong) {
      throw new Unreachable(wrong.message);
    }
    if (answer.ok) return text ? JSON.parse(text) : null;
    let problem = {};
    try { problem = JSON.parse(text); } catch { /* something between us and the router answered in its place */ }
    throw new Problem(problem, answer.status);
  }
}
