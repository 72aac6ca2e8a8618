// The language that somebody chose for one sample is the language of all of them, on every page from then on.
"use strict";
(() => {
  const name = "docs-language";
  const choose = (language) => {
    for (const input of document.querySelectorAll(`.docs-tabs > input[value="${CSS.escape(language)}"]`)) input.checked = true;
  };
  try {
    const kept = localStorage.getItem(name);
    if (kept) choose(kept);
  } catch { /* a browser that keeps nothing */ }
  document.addEventListener("change", (event) => {
    if (!event.target.matches(".docs-tabs > input")) return;
    const top = event.target.closest(".docs-tabs").getBoundingClientRect().top;
    choose(event.target.value);
    // What was pressed stays where it was, though samples above may have grown.
    scrollBy({ top: event.target.closest(".docs-tabs").getBoundingClientRect().top - top, behavior: "instant" });
    try { localStorage.setItem(name, event.target.value); } catch { /* then not */ }
  });
})();
