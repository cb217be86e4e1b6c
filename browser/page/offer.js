// Files that were made here, offered for download.

/** The addresses of what is offered, by the prefix of the links. */
const urls = new Map();

/**
 * Offers files in place of those before.
 * @param {string} name the prefix of the ids: `${name}-downloads` has a link `${name}-${kind}` for each kind of file
 * @param {Record<string, BlobPart> | null} files by their kinds; null hides the links
 */
export function offer(name, files) {
  for (const url of urls.get(name) ?? []) URL.revokeObjectURL(url);
  const made = Object.entries(files ?? {}).map(([kind, content]) => {
    const url = URL.createObjectURL(new Blob([content], { type: "application/octet-stream" }));
    document.getElementById(`${name}-${kind}`).href = url;
    return url;
  });
  urls.set(name, made);
  document.getElementById(`${name}-downloads`).hidden = files === null;
}
