// What every page has: menu, theme, times, forms that stay on the page, lists that follow the ledger.

import { begin, onTick, reopen } from "./live.js";
import { keepTimes, showTimes } from "./times.js";
import { showStock } from "./stock.js";

// Menu and theme
const menuButton = document.querySelector(".menu-button");
menuButton?.addEventListener("click", () => {
  const open = document.getElementById("menu").classList.toggle("open");
  menuButton.setAttribute("aria-expanded", String(open));
});
document.querySelector(".theme-button")?.addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("holdfast-theme", document.documentElement.dataset.theme);
  } catch {
    // A browser that keeps nothing: the choice lasts as long as the page.
  }
});

/** Tell something at the edge of the screen, and to screen readers. */
export function tell(message, bad = false) {
  document.querySelector(".toast")?.remove();
  const toast = document.createElement("p");
  toast.className = "toast";
  toast.setAttribute("role", bad ? "alert" : "status");
  document.body.append(toast);
  toast.textContent = message;
  setTimeout(() => toast.remove(), bad ? 9000 : 5000);
}

/** To the page that a form leads to, which tells what the form came to. */
export function leadOn({ to, message }) {
  try {
    sessionStorage.setItem("holdfast-told", message);
  } catch {
    // A browser that keeps nothing: the page itself shows what came of it.
  }
  location.href = to;
}

// What the form on the page before came to, when it led here.
try {
  const told = sessionStorage.getItem("holdfast-told");
  sessionStorage.removeItem("holdfast-told");
  if (told) tell(told);
} catch {
  // As above.
}

// Regions that are fetched again: elements with an id and data-refresh, replaced by those of a fresh page.
let refreshing = null;
let wanted = false;
/** How far the ledger was, at least, when what is shown was read: [epoch, seq]. */
let shownPlace = placeOf(document);

function placeOf(page) {
  return (page.body.dataset.ledger ?? "0-0").split("-").map(Number);
}

function isBehind([epoch, seq]) {
  return epoch > shownPlace[0] || (epoch === shownPlace[0] && seq > shownPlace[1]);
}

function isTyped(region) {
  return [...region.querySelectorAll("input:not([type=hidden]), textarea")].some(
    (field) => field.value !== field.defaultValue || field.checked !== field.defaultChecked,
  );
}

export async function refresh() {
  if (refreshing) {
    wanted = true;
    return refreshing;
  }
  refreshing = (async () => {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    let leftOut = false;
    for (const old of document.querySelectorAll("[data-refresh][id]")) {
      const region = fresh.getElementById(old.id);
      if (!region || old.innerHTML === region.innerHTML) continue;
      // Nobody's typing is taken away, nor the button they are about to press: it is tried again later.
      if (old.contains(document.activeElement) || isTyped(old)) leftOut = true;
      else old.replaceWith(document.importNode(region, true));
    }
    if (!leftOut) shownPlace = placeOf(fresh);
    showTimes();
    document.dispatchEvent(new CustomEvent("holdfast:fresh"));
  })().catch(() => undefined);
  await refreshing;
  refreshing = null;
  if (wanted) {
    wanted = false;
    await refresh();
  }
  return undefined;
}

// Lists follow the ledger: when it is further than the page was made from, they are fetched again, at most every three
// seconds.
let refreshedAt = 0;
onTick((tick) => {
  for (const [name, value] of Object.entries(tick.counts ?? {})) {
    for (const element of document.querySelectorAll(`[data-count="${name}"]`)) {
      element.hidden = !value;
      element.textContent = value > 999 ? "999+" : String(value);
    }
  }
  const follows = document.querySelector('[data-refresh="ledger"]');
  if (follows && isBehind(tick.ledger) && Date.now() - refreshedAt > 3000) {
    refreshedAt = Date.now();
    refresh();
  }
  showStock(tick);
});

// Forms that stay on the page: sent in the background; what came of it is told where one looks.
function showError(form, message) {
  let place = form.querySelector(".form-error");
  if (!form.classList.contains("press")) {
    if (!place) {
      place = document.createElement("p");
      place.className = "form-error";
      place.setAttribute("role", "alert");
      form.prepend(place);
    }
    place.textContent = message;
    place.scrollIntoView({ block: "nearest" });
  } else {
    tell(message, true);
  }
}

async function send(form, button) {
  const body = new URLSearchParams(new FormData(form));
  button?.setAttribute("aria-busy", "true");
  let done = null;
  try {
    const answer = await fetch(button?.getAttribute("formaction") ?? form.action, {
      method: "POST",
      body,
      headers: { accept: "application/json" },
    });
    const told = await answer.json();
    if (!answer.ok) {
      showError(form, told.detail ?? told.title);
      return;
    }
    done = told;
  } catch {
    showError(form, "The service did not answer. Sending it again is safe: it is done once.");
    return;
  } finally {
    button?.removeAttribute("aria-busy");
  }
  form.querySelector(".form-error")?.remove();
  for (const field of document.querySelectorAll('input[name="once"]')) field.value = done.once;
  if (form.dataset.inline === "go") {
    leadOn(done);
    return;
  }
  form.reset();
  form.closest("dialog")?.close();
  if (form.contains(document.activeElement)) document.activeElement.blur();
  tell(done.message);
  await refresh();
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.confirm && !confirm(form.dataset.confirm)) {
    event.preventDefault();
    return;
  }
  if (!("inline" in form.dataset) || form.method !== "post") return;
  event.preventDefault();
  const button = event.submitter ?? form.querySelector('[type="submit"]');
  if (button?.getAttribute("aria-busy") === "true") return;
  send(form, button);
});

// Dialogs: <a data-dialog="id"> opens <dialog id>, with the link's data-sku put in; without script it is a link.
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  if (opener && !event.ctrlKey && !event.metaKey) {
    const dialog = document.getElementById(opener.dataset.dialog);
    if (!dialog) return;
    event.preventDefault();
    const form = dialog.querySelector("form");
    if (opener.dataset.action) form.action = opener.dataset.action;
    for (const place of dialog.querySelectorAll("[data-put]")) place.textContent = opener.dataset[place.dataset.put] ?? "";
    const kind = opener.dataset.kind && form.querySelector(`[name="kind"][value="${opener.dataset.kind}"]`);
    form.querySelector(".form-error")?.remove();
    if (kind) kind.checked = true;
    dialog.showModal();
    form.querySelector('input[type="number"], input[type="text"]')?.focus();
  }
  if (event.target.closest("[data-close]")) event.target.closest("dialog").close();
});

// Filters are sent as soon as a choice is made; what is typed waits for Enter.
document.addEventListener("change", (event) => {
  const form = event.target.closest("form.filters[data-auto]");
  if (form && event.target.matches("select, input[type=checkbox]")) form.requestSubmit();
});

// "/" leads to the search field.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, textarea, select")) return;
  const search = document.querySelector('input[type="search"]');
  if (search) {
    event.preventDefault();
    search.focus();
  }
});

document.addEventListener("holdfast:fresh", reopenIfOthers);
let shown = "";
function skusShown() {
  return [...new Set([...document.querySelectorAll("[data-sku]")].map((element) => element.dataset.sku))].sort().join("\n");
}
function reopenIfOthers() {
  const skus = skusShown();
  if (skus !== shown) {
    shown = skus;
    reopen();
  }
}
shown = skusShown();
keepTimes();
begin();
