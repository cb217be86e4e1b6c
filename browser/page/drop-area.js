// Files for the page: chosen in a field, or dropped anywhere.

/**
 * Hands over the files that are chosen or dropped; none while the field is disabled.
 * @param {HTMLElement} area what shows that files may be dropped
 * @param {HTMLInputElement} input
 * @param {(files: File[]) => void} take
 */
export function takeFiles(area, input, take) {
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = ""; // so that the same files can be chosen again
    take(files);
  });
  const calm = () => delete area.dataset.dragged;
  // The whole page takes files: one that misses the area must not replace the page.
  const onFiles = (type, react) =>
    addEventListener(type, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      react(event.dataTransfer);
    });
  onFiles("dragover", (dragged) => {
    dragged.dropEffect = input.disabled ? "none" : "copy";
    area.dataset.dragged = "true";
  });
  onFiles("drop", ({ files }) => {
    calm();
    if (!input.disabled) take([...files]);
  });
  // Between two elements of the page nothing has left it.
  addEventListener("dragleave", ({ relatedTarget }) => relatedTarget ?? calm());
}
