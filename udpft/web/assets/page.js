"use strict";
// The page works without this script: it puts in place what the server says has changed, and takes
// files that are dropped.

function put(piece) {
  const place = document.getElementById(piece.id);
  if (!place) return;
  const focused = document.activeElement && place.contains(document.activeElement)
    ? document.activeElement.id : "";
  place.innerHTML = piece.html;
  const again = focused && document.getElementById(focused);
  if (again) again.focus({ preventScroll: true });
}

const topic = document.body.dataset.live;
if (topic) {
  const source = new EventSource(topic);
  let seen = false;
  source.addEventListener("message", (event) => {
    const piece = JSON.parse(event.data);
    if (piece.id !== "news" || seen) put(piece); // what was there before is no news
    seen = seen || piece.id === "news";
    document.documentElement.dataset.pieces = Number(document.documentElement.dataset.pieces || 0) + 1;
  });
  addEventListener("pagehide", () => source.close());
}

const form = document.getElementById("store");
if (form) {
  const input = form.querySelector("input[type=file]");
  const error = document.getElementById("file-error");
  const fits = () => {
    const bytes = [...input.files].reduce((sum, file) => sum + file.size, 0);
    const wrong = bytes > Number(form.dataset.max);
    if (wrong) {
      error.textContent = form.dataset.maxWords;
      error.setAttribute("role", "alert");
      error.hidden = false;
      input.setAttribute("aria-invalid", "true");
      input.setAttribute("aria-describedby", "file-hint file-error");
      input.focus();
    }
    return !wrong;
  };
  form.addEventListener("submit", (event) => { if (!fits()) event.preventDefault(); });
  form.addEventListener("dragover", (event) => { event.preventDefault(); form.classList.add("over"); });
  form.addEventListener("dragleave", () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    if (event.dataTransfer.files.length) {
      input.files = event.dataTransfer.files;
      form.requestSubmit();
    }
  });
}
