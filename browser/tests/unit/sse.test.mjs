import assert from "node:assert/strict";
import { test } from "node:test";
import { EventStreamParser, readEvents } from "../../page/sse.js";

const STREAM =
  ": ping\n\nevent: init\nid: 0\ndata: {\"a\":1}\n\ndata: one\r\ndata: two\r\n\r\nevent: unused\n\nevent:token\rdata:  x\rid: 7\r\rignored\ndata\n\ndata: é";
const EVENTS = [
  { event: "init", data: '{"a":1}' },
  { event: "message", data: "one\ntwo" },
  { event: "token", data: " x" },
  { event: "message", data: "" },
];

test("events do not depend on where the stream is cut", () => {
  for (let size = 1; size <= STREAM.length; size++) {
    const parser = new EventStreamParser();
    const events = [];
    for (let at = 0; at < STREAM.length; at += size) events.push(...parser.push(STREAM.slice(at, at + size)));
    assert.deepEqual(events, EVENTS, `pieces of ${size}`);
  }
});

test("a character cut in two bytes arrives whole", async () => {
  const bytes = new TextEncoder().encode("data: é🙂\n\n");
  const body = new ReadableStream({
    start(controller) {
      for (const byte of bytes) controller.enqueue(new Uint8Array([byte]));
      controller.close();
    },
  });
  const events = [];
  for await (const event of readEvents(new Response(body))) events.push(event.data);
  assert.deepEqual(events, ["é🙂"]);
});

test("leaving the loop cancels the response", async () => {
  let cancelled = false;
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(new TextEncoder().encode("data: 1\n\ndata: 2\n\n")),
    cancel: () => (cancelled = true),
  });
  for await (const event of readEvents(new Response(body))) {
    assert.equal(event.data, "1");
    break;
  }
  assert.ok(cancelled);
});
