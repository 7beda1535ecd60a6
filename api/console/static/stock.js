// Counters of SKUs wherever a page shows them: [data-sku] holds [data-of="on_hand|reserved|available"], a bar, a state.

const numbers = new Intl.NumberFormat("en-US");

function put(element, text) {
  if (element.textContent === text) return;
  element.textContent = text;
  element.classList.remove("moved");
  void element.offsetWidth; // so that the animation begins anew
  element.classList.add("moved");
}

function showState(element, available, threshold) {
  const [text, kind] =
    available === 0 ? ["Out of stock", "bad"] : available < threshold ? ["Low", "warn"] : ["In stock", "good"];
  if (element.textContent === text) return;
  element.textContent = text;
  element.className = `tag ${kind}`;
}

function percent(part, whole) {
  return whole > 0 ? Math.max(0, Math.min(100, (100 * part) / whole)).toFixed(2) : "0";
}

/** Show the counters of a tick. */
export function showStock(tick) {
  for (const place of document.querySelectorAll("[data-sku]")) {
    const counters = tick.stock[place.dataset.sku];
    if (!counters) continue;
    const [onHand, reserved, available, threshold] = counters;
    const values = { on_hand: onHand, reserved, available };
    for (const element of place.querySelectorAll("[data-of]")) put(element, numbers.format(values[element.dataset.of]));
    for (const element of place.querySelectorAll("[data-state]")) showState(element, available, threshold);
    for (const bar of place.querySelectorAll("[data-bar]")) {
      bar.querySelector(".bar-available").setAttribute("width", percent(available, onHand));
      bar.querySelector(".bar-reserved").setAttribute("x", percent(onHand - reserved, onHand));
      bar.querySelector(".bar-reserved").setAttribute("width", percent(reserved, onHand));
    }
  }
}
