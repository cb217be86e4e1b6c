// What a private receipt leaves out, as those who have it may give it.

const TEXT = { name: "text", text: "a text" };
const DATA = { missing: "data", forms: [TEXT, { name: "data", text: "JSON lines" }] };

/** By what a receipt is of: what is missing, and the forms in which it may be given, each an option of `engine.verify`. */
export const LEFT_OUT = {
  generation: { missing: "prompt", forms: [{ name: "prompt", text: "a text" }, { name: "messages", text: "a conversation, as JSON" }] },
  training: DATA,
  scoring: DATA,
};

/**
 * The option of `engine.verify` that gives it.
 * @param {string} form the name of a form
 * @param {string} content
 * @throws {SyntaxError} if a conversation is no JSON
 */
export function leftOut(form, content) {
  if (form !== "messages") return { [form]: content };
  const conversation = JSON.parse(content);
  return { messages: conversation?.messages ?? conversation };
}
