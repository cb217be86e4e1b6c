/** The blocks of code in this language that a Markdown text has. @param {string} text @param {string} language */
export function blocks(text, language) {
  return [...text.matchAll(new RegExp("^```" + language + "\\n([^]*?)^```", "gm"))].map(([, block]) => block);
}
