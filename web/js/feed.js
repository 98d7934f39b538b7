// feed: the live events. Connects again by itself, and knows when what is on the screen is not live.

const SILENCE_MILLISECONDS = 5000;
const AGAIN_MILLISECONDS = 2000;
// A browser has six connections to a host, and lends them to all its tabs: those that nobody looks at hold none.
const UNSEEN_MILLISECONDS = 10000;
const NAMES = ["state", "series", "sample", "history"];

export class Feed {
  #source = null;
  #heardAt = 0;
  #isLive = null;
  #again = null;
  #ticking = null;
  #resting = null; // the timer, while nobody looks

  /**
   * @param heard called with each event's name and data.
   * @param lives called with true or false whenever that changes; with null when it is not known any more.
   * @param mayReturn async: whether to connect again, after the router refused or nobody looked; false when the session has ended.
   */
  constructor(heard, lives, mayReturn) {
    this.heard = heard;
    this.lives = lives;
    this.mayReturn = mayReturn;
    document.addEventListener("visibilitychange", () => this.#seen());
  }

  start() {
    this.stop();
    if (document.hidden) return this.#rest();
    this.#begin();
    this.#connect();
  }

  #begin() {
    this.#ticking = setInterval(() => this.#look(), 500);
    this.#heardAt = Date.now();
  }

  stop() {
    clearInterval(this.#ticking);
    clearTimeout(this.#again);
    clearTimeout(this.#resting);
    this.#source?.close();
    this.#source = this.#ticking = this.#again = this.#resting = null;
    this.#isLive = null;
  }

  #seen() {
    if (document.hidden && this.#ticking) {
      clearTimeout(this.#resting);
      this.#resting = setTimeout(() => this.#rest(), UNSEEN_MILLISECONDS);
    } else if (!document.hidden && this.#resting !== null) {
      clearTimeout(this.#resting);
      this.#resting = null;
      if (this.#ticking) return;
      this.#begin();
      this.#return(0); // another tab may have signed out meanwhile, or in as somebody else
    }
  }

  #rest() {
    this.stop();
    this.#resting = 0;
    this.lives(null);
  }

  #connect() {
    const source = new EventSource("api/v1/events");
    this.#source = source;
    for (const name of NAMES) {
      source.addEventListener(name, (event) => {
        if (source !== this.#source) return;
        this.#heardAt = Date.now();
        this.#tell(true);
        this.heard(name, JSON.parse(event.data));
      });
    }
    source.addEventListener("end", (event) => {
      if (JSON.parse(event.data).reason === "signed-out") this.#refused();
    });
    source.addEventListener("error", () => {
      if (source === this.#source && source.readyState === EventSource.CLOSED) this.#refused();
    });
  }

  // EventSource gives up for good after an answer that is no event stream: a restart behind a proxy looks like that.
  #refused() {
    this.#source?.close();
    this.#source = null;
    this.#return(AGAIN_MILLISECONDS);
  }

  async #return(milliseconds) {
    const isRunning = this.#ticking;
    const may = await this.mayReturn();
    if (!may || isRunning !== this.#ticking) return;
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.#connect(), milliseconds);
  }

  #look() {
    if (Date.now() - this.#heardAt <= SILENCE_MILLISECONDS) return;
    this.#tell(false);
    // A connection may hang without an error, after a laptop's sleep for one.
    if (this.#source && Date.now() - this.#heardAt > 3 * SILENCE_MILLISECONDS) {
      this.#heardAt = Date.now() - SILENCE_MILLISECONDS - 1;
      this.#source.close();
      this.#connect();
    }
  }

  #tell(isLive) {
    if (isLive === this.#isLive) return;
    this.#isLive = isLive;
    this.lives(isLive);
  }
}
