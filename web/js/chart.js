// chart: a small line chart as SVG. Knows nothing of the rollout.

const SVG = "http://www.w3.org/2000/svg";
const [LEFT, BOTTOM, TOP] = [2.75, 1, 0.375]; // what letters need around the lines, in their own measure (rem)
const [USUAL_WIDTH, USUAL_HEIGHT] = [320, 96]; // while it is not on the screen

function shape(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** A round number at or above `value`: 1, 2 or 5 times a power of ten. */
export function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * (1 - 1e-9));
}

/** The greatest known value of several lines; 0 if there is none. */
export const greatest = (lines) => lines.flat().reduce((most, value) => Math.max(most, value ?? 0), 0);

/**
 * Draw into an svg element.
 * @param lines [{values: [number | null, ...], style: "a class name"}, ...], drawn in their order.
 * @param marks [{share, text}, ...]: upright lines at that share of the way across.
 * @param most the value at the top.   @param format says a value in words.
 * @param label a sentence for who cannot see the chart.   @param ends words for the two ends of the time axis.
 */
export function draw(svg, { lines, marks, most, format, label, ends }) {
  const parts = [shape("title", {}, label)];
  // One unit is one pixel, so that letters are as large as elsewhere.
  const width = svg.clientWidth || USUAL_WIDTH, height = svg.clientHeight || USUAL_HEIGHT;
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const left = LEFT * rem, top = TOP * rem, bottom = height - BOTTOM * rem, across = width - left, up = bottom - top;
  for (const share of [0, 0.5, 1]) {
    const y = bottom - share * up;
    parts.push(shape("line", { x1: left, x2: width, y1: y, y2: y, class: "grid" }));
    parts.push(shape("text", { x: left - 0.3 * rem, y: y + 0.22 * rem, class: "tick", "text-anchor": "end" }, format(share * most)));
  }
  parts.push(shape("text", { x: left, y: height - 3, class: "tick" }, ends[0]));
  parts.push(shape("text", { x: width, y: height - 3, class: "tick", "text-anchor": "end" }, ends[1]));
  for (const { share, text } of marks) {
    const x = left + share * across;
    const mark = shape("g", { class: "mark" });
    mark.append(shape("title", {}, text), shape("line", { x1: x, x2: x, y1: top, y2: bottom }),
      shape("rect", { x: x - 6, y: top, width: 12, height: up })); // a line is too thin to be pointed at
    parts.push(mark);
  }
  for (const { values, style } of lines) {
    const d = path(values, (place) => left + (place / Math.max(1, values.length - 1)) * across,
      (value) => bottom - Math.min(1, value / most) * up);
    if (d) parts.push(shape("path", { d, class: `line ${style}` }));
  }
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  svg.replaceChildren(...parts);
}

// Gaps stay gaps; a lone point becomes a dot, for the line's caps are round.
function path(values, x, y) {
  let d = "", isDown = false;
  values.forEach((value, place) => {
    if (value === null) { isDown = false; return; }
    d += `${isDown ? "L" : "M"}${x(place).toFixed(1)} ${y(value).toFixed(1)}`;
    if (!isDown && (values[place + 1] ?? null) === null) d += "h0.01";
    isDown = true;
  });
  return d;
}
