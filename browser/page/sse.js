// Server-sent events (WHATWG HTML, section 9.2) from a fetch response. `EventSource` is not used: it reconnects after an
// error and would generate again, and it cannot be stopped by an AbortSignal.

/** Turns the text of an event stream, cut anywhere, into events. */
export class EventStreamParser {
  #rest = "";
  #event = "";
  #data = [];

  /**
   * @param {string} text the next piece of the stream
   * @returns {{event: string, data: string}[]} the events that are complete with it
   */
  push(text) {
    const events = [];
    this.#rest += text;
    // A carriage return at the very end may be half of a CRLF: it waits for the next piece.
    for (let end; (end = this.#rest.search(/\r\n|\n|\r(?!$)/)) >= 0; ) {
      const line = this.#rest.slice(0, end);
      this.#rest = this.#rest.slice(end + (this.#rest.startsWith("\r\n", end) ? 2 : 1));
      if (line !== "") this.#field(line);
      else if (this.#data.length > 0) {
        events.push({ event: this.#event || "message", data: this.#data.join("\n") });
        this.#event = "";
        this.#data = [];
      } else this.#event = "";
    }
    return events;
  }

  #field(line) {
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment: servers send them to keep the connection alive
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.#event = value;
    else if (name === "data") this.#data.push(value);
  }
}

/**
 * The events of a response, as they arrive. Leaving the loop early cancels the response.
 * WebKit's streams are not async-iterable, therefore a reader.
 * @param {Response} response
 */
export async function* readEvents(response) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventStreamParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
