// Every page works without this file; it makes waiting, copying and mistakes more pleasant.
"use strict";
(() => {
  const body = document.body;
  document.documentElement.classList.add("has-script");
  const alertBar = document.getElementById("alert");
  const status = document.getElementById("status");
  const flash = document.getElementById("flash");

  // A pressed button says that it works and can't be pressed twice.
  const rest = (button) => {
    if (!button.dataset.rest) return;
    button.querySelector("span").textContent = button.dataset.rest;
    delete button.dataset.rest;
    button.removeAttribute("aria-busy");
  };
  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    const isHtmx = event.target.closest("[hx-post],[hx-get]") || (button && button.closest("[hx-post],[hx-get]"));
    if (event.defaultPrevented && !isHtmx) return;
    if (button && button.getAttribute("aria-busy") === "true") { event.preventDefault(); return; }
    if (!button || !button.dataset.busy || isHtmx) return;
    const words = button.querySelector("span");
    button.style.minWidth = `${button.offsetWidth}px`;
    button.dataset.rest = words.textContent;
    words.textContent = button.dataset.busy;
    button.setAttribute("aria-busy", "true");
  });
  // Coming back by the back button finds a page that is ready again.
  addEventListener("pageshow", () => document.querySelectorAll("button[data-rest]").forEach(rest));

  // A button whose reason not to work is written beside it does nothing.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[aria-disabled=true]");
    if (button) { event.preventDefault(); event.stopPropagation(); }
  }, true);

  // Copy, where the browser can.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      toast(body.dataset.copied);
    } catch { /* no permission: the code stands beside the button */ }
  });
  document.addEventListener("click", (event) => { if (event.target.closest("[data-print]")) print(); });

  // Characters that are left in a text with a limit.
  const count = (area) => {
    const counter = document.getElementById(`${area.id}-count`);
    if (counter) counter.textContent = `${[...area.value].length} / ${area.dataset.limit}`;
  };
  document.addEventListener("input", (event) => { if (event.target.dataset.limit) count(event.target); });

  // Enter in the last fields buys; anywhere else it only renews the preview.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches("#buyer_email, #buyer_name")) return;
    const buy = document.getElementById("buy");
    if (buy) { event.preventDefault(); buy.click(); }
  });
  // A suggested address goes into its field.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-fills]");
    if (!button) return;
    event.preventDefault();
    const field = document.getElementById(button.dataset.fills);
    field.value = button.value;
    field.focus();
    button.closest(".suggestion").remove();
  });

  // Toasts: five seconds, longer while somebody looks at them.
  const dismiss = (note) => {
    let timer;
    const start = () => { timer = setTimeout(() => note.remove(), 5000); };
    note.addEventListener("mouseenter", () => clearTimeout(timer));
    note.addEventListener("focusin", () => clearTimeout(timer));
    note.addEventListener("mouseleave", start);
    if (!note.querySelector("button, a")) start();
  };
  function toast(words) {
    const note = document.createElement("p");
    note.className = "toast";
    note.textContent = words;
    flash.append(note);
    dismiss(note);
  }
  flash.querySelectorAll(".toast").forEach(dismiss);
  body.addEventListener("toast", (event) => toast(event.detail.value));
  body.addEventListener("status", (event) => { status.textContent = event.detail.value; });

  // After an error the reader stands at its summary.
  const settle = (root) => {
    const target = root.querySelector && root.querySelector("[data-focus]");
    if (target) target.focus();
    (root.querySelectorAll ? root.querySelectorAll("textarea[data-limit]") : []).forEach(count);
  };
  settle(document);
  body.addEventListener("htmx:afterSettle", (event) => {
    settle(event.detail.elt);
    // A fragment that knows the page's new title brings it along.
    const titled = event.detail.elt.closest("[data-title]");
    if (titled) document.title = titled.dataset.title;
  });

  // A failed swap leaves the page as it was and says so.
  const complain = (words) => { alertBar.textContent = words; };
  body.addEventListener("htmx:sendError", () => complain(body.dataset.offline));
  body.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.status !== 422) complain(body.dataset.failed);
  });
  body.addEventListener("htmx:afterOnLoad", () => { alertBar.textContent = ""; });
})();
