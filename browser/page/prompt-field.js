// The prompt field in its two modes. In Chat it is a user's message, which both sides answer by the model's chat template; in
// Raw it is a text that they continue.

/** What the field says in each mode, and what it begins with; an empty field stands for that prompt. */
const MODES = {
  chat: {
    label: "Message",
    hint: "The model answers it by its chat template. Each message is a conversation of its own.",
    prompt: "What is the capital of France?",
    maxTokens: 100,
    examples: ["What is the capital of France?", "Why is the sky blue?", "Write a haiku about the sea.", "Name three prime numbers."],
  },
  raw: { label: "Prompt", hint: "The model continues this text.", prompt: "Once upon a time", maxTokens: 25, examples: [] },
};

const $ = (id) => document.getElementById(id);

export class PromptField {
  #mode = "raw";
  /** What was in the fields of the mode that is not shown. */
  #drafts = Object.fromEntries(Object.entries(MODES).map(([name, { prompt, maxTokens }]) => [name, { prompt, maxTokens }]));
  #examples = Object.fromEntries(Object.entries(MODES).map(([name, { examples }]) => [name, examples]));
  #recorded;

  /** @param {(prompt: string) => {max_tokens: number} | undefined} recorded the recorded run of a raw prompt, where there is one */
  constructor(recorded) {
    this.#recorded = recorded;
    for (const name of Object.keys(MODES)) $(`mode-${name}`).addEventListener("change", () => this.#choose(name));
    $("mode-raw").checked = true;
    this.#show();
  }

  /** @param {string[]} prompts examples of raw prompts */
  examples(prompts) {
    this.#examples.raw = prompts;
    this.#show();
  }

  /**
   * What both sides are asked.
   * @returns {{text: string, chat: boolean, asked: {prompt: string} | {messages: {role: string, content: string}[]}, maxTokens: number}}
   */
  request() {
    // An empty prompt stands for the default, here as on the server.
    const text = $("prompt").value || MODES[this.#mode].prompt;
    const chat = this.#mode === "chat";
    const asked = chat ? { messages: [{ role: "user", content: text }] } : { prompt: text };
    return { text, chat, asked, maxTokens: Number($("max-tokens").value) };
  }

  #choose(name) {
    if (name === this.#mode) return;
    this.#drafts[this.#mode] = { prompt: $("prompt").value, maxTokens: $("max-tokens").value };
    this.#mode = name;
    $("prompt").value = this.#drafts[name].prompt;
    $("max-tokens").value = this.#drafts[name].maxTokens;
    this.#show();
  }

  #show() {
    const { label, hint, prompt } = MODES[this.#mode];
    $("prompt-label").textContent = label;
    $("mode-hint").textContent = hint;
    $("prompt").placeholder = prompt;
    $("examples").replaceChildren(...this.#examples[this.#mode].map((example) => this.#button(example)));
  }

  #button(example) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "small";
    button.textContent = example;
    button.addEventListener("click", () => {
      $("prompt").value = example;
      const recorded = this.#mode === "raw" && this.#recorded(example);
      if (recorded) $("max-tokens").value = recorded.max_tokens;
    });
    return button;
  }
}
