// What all figures that move share: drawing, a state that its controls hold, one Tab stop
// for each group. The page has the controls already, so nothing moves when this arrives.

const SVG = "http://www.w3.org/2000/svg";
const still = matchMedia("(prefers-reduced-motion: reduce)");

// Make an element of a drawing; what is null is left out.
const draw = (name, attributes = {}, ...inside) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value != null) element.setAttribute(key, value);
  }
  element.append(...inside);
  return element;
};

// Write a number as the site does: .55, and what rounds to 0 as less than .01.
const short = (number, digits = 2) => {
  const least = 10 ** -digits;
  if (number > 0 && number < least / 2) return `<${String(least).slice(1)}`;
  return number.toFixed(digits).replace(/^(-?)0(?=\.)/, "$1");
};

// The colours of viridis, at a share from 0 to 1, by eleven of them.
const VIRIDIS = "440154 482475 414487 355f8d 2a788e 21918c 22a884 44bf70 7ad151 bddf26 fde725"
  .split(" ").map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
const viridis = (share) => {
  const at = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(at), VIRIDIS.length - 2);
  return VIRIDIS[low].map((part, i) => Math.round(part + (at - low) * (VIRIDIS[low + 1][i] - part)));
};

// Paint a map on a canvas: a pixel for each cell, nothing where the number is exactly 0.
const SHADES = Uint32Array.from({ length: 256 }, (_, at) => {
  const [red, green, blue] = viridis(at / 255);
  return (255 << 24) | (blue << 16) | (green << 8) | red;
});
const paint = (canvas, rows, columns, shareAt) => {
  Object.assign(canvas, { width: columns, height: rows });
  const pixels = new Uint32Array(rows * columns);
  for (let i = 0; i < rows; i += 1) {
    for (let j = 0; j < columns; j += 1) {
      const share = shareAt(i, j);
      if (share > 0) pixels[i * columns + j] = SHADES[Math.round(255 * Math.min(share, 1))];
    }
  }
  const image = new ImageData(new Uint8ClampedArray(pixels.buffer), columns, rows);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
};
const mapImage = (...map) => paint(document.createElement("canvas"), ...map).toDataURL();

// Each token by itself, whichever way it is written.
const quote = (word) => `“\u2068${word}\u2069”`;

// Numbers from base64: Float32Array, Uint16Array and their like, the lowest byte first.
const unpack = (Kind, text) => new Kind(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);

// Make one Tab stop of a group: arrows go round in it, up and down by a line of `across`.
// What it returns moves the stop to a button.
const rove = (group, across = () => 1) => {
  const items = () => [...group.querySelectorAll("button:not([hidden])")];
  let last;
  const stop = (chosen) => {
    if (chosen === last) return;
    if (last) last.tabIndex = -1;
    last = chosen;
    last.tabIndex = 0;
  };
  items().forEach((item) => { item.tabIndex = -1; });
  stop(group.querySelector("[aria-pressed=true]") ?? items()[0]);
  group.addEventListener("focusin", (event) => stop(event.target.closest("button")));
  group.addEventListener("keydown", (event) => {
    const all = items();
    const side = getComputedStyle(group).direction === "rtl" ? -1 : 1;
    const steps = { ArrowRight: side, ArrowLeft: -side, ArrowDown: across(), ArrowUp: -across(),
      Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const to = all.indexOf(document.activeElement) + step;
    all[Math.min(Math.max(to, 0), all.length - 1)].focus();
  });
  return stop;
};

// A figure: `begin` sets what its controls do not hold, `show` draws the state and returns
// the sentence that says it.
class Moving extends HTMLElement {
  connectedCallback() {
    if (this.form) return;
    this.form = this.querySelector("form");
    this.data = JSON.parse(this.dataset.figure);
    this.form.addEventListener("input", () => this.change());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("reset", () => setTimeout(() => { this.begin(); this.change(); }));
    this.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.form.reset();
      // arrows are the figure's own: the page does not turn
      if (event.key.startsWith("Arrow")) event.stopPropagation();
    });
    this.build?.();
    this.begin();
    new ResizeObserver(() => this.change()).observe(this.form);
    this.change();
  }

  begin() {}

  // What the controls say: numbers of ranges, words of choices, true or false of boxes.
  get controls() {
    const found = {};
    for (const { name, type, value, valueAsNumber, checked } of this.form.elements) {
      if (!name || (type === "radio" && !checked)) continue;
      if (type === "checkbox") found[name] = checked;
      else found[name] = type === "range" || type === "number" ? valueAsNumber : value;
    }
    return found;
  }

  // Take a change, and draw it with the next picture.
  change(changed = {}) {
    Object.assign(this, changed);
    this.due ??= requestAnimationFrame(() => {
      this.due = undefined;
      for (const shown of this.querySelectorAll("[data-of]")) {
        const { value, dataset } = this.form.elements[shown.dataset.of];
        shown.textContent = dataset.digits ? Number(value).toFixed(dataset.digits) : value;
      }
      const sentence = this.show(this.controls);
      const output = this.querySelector("output");
      if (output.textContent !== sentence) output.textContent = sentence;
    });
  }
}

const define = (name, kind) => customElements.get(name) || customElements.define(name, kind);
