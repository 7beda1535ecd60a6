// A product's curve: what was on hand, and on from there with every tick.

import { chart } from "./charts.js";
import { onTick } from "./live.js";

const place = document.getElementById("curve");
const points = JSON.parse(place.dataset.points);
const spanMs = points.at(-1)[0] - points[0][0];
const begin = points.find(([, units]) => units !== null)?.[0] ?? points[0][0];

function show(toMs) {
  // A product that is younger than half of what is shown: its own life is shown instead.
  const young = toMs - begin < spanMs / 2 ? Math.max(60_000, (toMs - begin) * 1.1) : spanMs;
  chart(place, {
    series: [{ points, step: true, area: true }],
    fromMs: toMs - young,
    toMs,
    floor: 10,
    label: "Units on hand over time",
  });
}

show(points.at(-1)[0]);
onTick((tick) => {
  const counters = tick.stock[place.dataset.ofSku];
  if (!counters) return;
  if (points.at(-1)[1] !== counters[0]) points.push([tick.at, counters[0]]);
  show(tick.at);
});
addEventListener("resize", () => show(points.at(-1)[0]));
