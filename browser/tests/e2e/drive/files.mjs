// Files that a page makes, and files that are given to it.

/** From now on the page's files to download are kept for `madeFiles`. */
export function watchFiles(tab) {
  return tab.evaluate(() => {
    const make = URL.createObjectURL;
    window.madeFiles = new Map();
    URL.createObjectURL = (blob) => {
      const url = make(blob);
      window.madeFiles.set(url, blob);
      return url;
    };
  });
}

/** The contents that the page offers under the links of these ids, in base64; null where it offers none. */
export function madeFiles(tab, ids) {
  return tab.evaluate((ids) => {
    const content = async (id) => {
      const link = document.getElementById(id);
      if (link.parentElement.hidden) return null;
      let text = "";
      for (const byte of new Uint8Array(await window.madeFiles.get(link.href).arrayBuffer())) text += String.fromCharCode(byte);
      return btoa(text);
    };
    return Promise.all(ids.map(content));
  }, ids);
}

/** Drops files on the page. @param {[string, string][]} files names, and contents in base64 */
export function dropFiles(tab, files) {
  return tab.evaluate((files) => {
    const dataTransfer = new DataTransfer();
    for (const [name, content] of files) {
      dataTransfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
    }
    for (const type of ["dragover", "drop"]) {
      document.body.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
    }
  }, files);
}
