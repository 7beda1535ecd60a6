// Charts as SVG: lines over time and columns, drawn anew with each change. Colours come from the style sheet by class.

const SVG = "http://www.w3.org/2000/svg";
const numbers = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1, notation: "compact" });

function draw(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** A round number at or above `value`. */
export function roundUp(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((times) => times * power).find((bound) => bound >= value);
}

/** How moments are written below a chart that spans `spanMs`. */
function timeText(spanMs) {
  if (spanMs < 2 * 86_400_000) {
    const seconds = spanMs < 600_000 ? { second: "2-digit" } : {};
    return new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", ...seconds });
  }
  return new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
}

/**
 * Draw lines into `place`. `series`: [{points: [[ms, value]...], kind, step, area}]; `columns`: {items: [[ms, {kind: value}]],
 * widthMs} drawn side by side below the lines' maximum.
 */
export function chart(place, { series = [], columns = null, fromMs, toMs, floor = 0, label = "" }) {
  const width = Math.max(200, place.clientWidth);
  const height = Math.max(100, place.clientHeight);
  const [left, right, top, bottom] = [44, 8, 8, 22];
  let highest = floor;
  for (const { points } of series) for (const [, value] of points) highest = Math.max(highest, value ?? 0);
  for (const [, values] of columns?.items ?? []) highest = Math.max(highest, ...Object.values(values));
  const most = roundUp(highest);
  const spanMs = Math.max(1, toMs - fromMs);
  const x = (ms) => left + ((ms - fromMs) / spanMs) * (width - left - right);
  const y = (value) => height - bottom - (value / most) * (height - top - bottom);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (const part of [0, 0.5, 1]) {
    const at = y(most * part);
    svg.append(draw("line", { class: "axis", x1: left, x2: width - right, y1: at, y2: at }));
    svg.append(draw("text", { x: left - 6, y: at + 4, "text-anchor": "end" }, numbers.format(most * part)));
  }
  const format = timeText(spanMs);
  const marks = width < 330 ? 1 : width < 640 ? 2 : 4;
  for (let mark = 0; mark <= marks; mark += 1) {
    const ms = fromMs + (spanMs * mark) / marks;
    const anchor = mark === 0 ? "start" : mark === marks ? "end" : "middle";
    svg.append(draw("text", { x: x(ms), y: height - 6, "text-anchor": anchor }, format.format(ms)));
  }
  if (columns) {
    const kinds = columns.kinds;
    const each = Math.max(1, ((columns.widthMs / spanMs) * (width - left - right) * 0.8) / kinds.length);
    for (const [ms, values] of columns.items) {
      kinds.forEach((kind, place_) => {
        const value = values[kind] ?? 0;
        if (value <= 0) return;
        const tall = Math.max(1, y(0) - y(value));
        svg.append(draw("rect", { class: `column ${kind}`, x: x(ms) + place_ * each, y: y(0) - tall, width: each, height: tall }));
      });
    }
  }
  for (const { points, kind = "", step = false, area = false } of series) {
    const seen = points.filter(([ms, value]) => value !== null && ms <= toMs);
    const first = seen.findLastIndex(([ms]) => ms <= fromMs);
    const drawn = seen.slice(Math.max(0, first)).map(([ms, value]) => [Math.max(fromMs, ms), value]);
    if (!drawn.length) continue;
    if (step) drawn.push([toMs, drawn.at(-1)[1]]);
    let path = "";
    drawn.forEach(([ms, value], place_) => {
      if (!place_) path = `M${x(ms).toFixed(1)} ${y(value).toFixed(1)}`;
      else path += step ? `H${x(ms).toFixed(1)}V${y(value).toFixed(1)}` : `L${x(ms).toFixed(1)} ${y(value).toFixed(1)}`;
    });
    if (area) {
      const begin = x(drawn[0][0]).toFixed(1);
      svg.append(draw("path", { class: `area ${kind}`, d: `${path}V${y(0)}H${begin}Z` }));
    }
    svg.append(draw("path", { class: `line ${kind}`, d: path }));
  }
  place.querySelector("svg")?.remove();
  place.prepend(svg);
}

/** A line without axes, for the corner of a figure. */
export function spark(place, values, kind = "") {
  const most = Math.max(1, ...values);
  const svg = place.querySelector("svg.spark") ?? place.appendChild(draw("svg", { class: "spark", viewBox: "0 0 60 20", preserveAspectRatio: "none", "aria-hidden": "true" }));
  const points = values.map((value, place_) => `${((60 * place_) / Math.max(1, values.length - 1)).toFixed(1)} ${(19 - (18 * value) / most).toFixed(1)}`);
  svg.replaceChildren(draw("path", { class: `line ${kind}`, d: points.length ? `M${points.join("L")}` : "" }));
}
