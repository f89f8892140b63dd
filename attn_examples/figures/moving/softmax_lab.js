// Softmax lab: scores to drag; the weights, their entropy and the gradient follow.
define("attn-softmax_lab", class extends Moving {
  build() {
    [this.left, this.right] = this.querySelectorAll("svg.live");
    this.ranges = [...this.querySelectorAll(".scores input")];
    this.masks = [...this.querySelectorAll(".masks button")];
    rove(this.querySelector(".masks"));
    this.masks.forEach((mask, at) => mask.addEventListener("click", () => { this.masked[at] = !this.masked[at]; }));
    for (const kind of ["focusin", "input", "click"]) {
      this.addEventListener(kind, ({ target }) => {
        const chosen = Math.max(this.ranges.indexOf(target), this.masks.indexOf(target));
        if (chosen >= 0) this.change({ chosen });
      });
    }
    // up and down move the bar by a tenth, left and right go to another
    this.querySelector(".scores").addEventListener("keydown", (event) => {
      const { key, target: range } = event;
      const side = { ArrowLeft: -1, ArrowRight: 1 }[key];
      const up = { ArrowUp: 1, ArrowDown: -1 }[key];
      if (event.ctrlKey || event.altKey || event.metaKey || !(side || up)) return;
      event.preventDefault();
      if (up) range.value = Math.round(10 * range.valueAsNumber + up) / 10;
      else this.ranges[this.chosen + side]?.focus();
      this.change();
    });
  }

  begin() {
    this.masked = [...this.data.masked, false];
    this.chosen = 0;
  }

  // What the softmax makes of scores times a factor: an infinite one is the limit T = 0.
  softmax(scores, factor, k) {
    const most = Math.max(...scores);
    const parts = scores.map((score) => (score === -Infinity ? 0
      : score === most ? 1 : Math.exp((score - most) * factor)));
    const sum = parts.reduce((total, part) => total + part);
    const weights = parts.map((part) => part && part / sum);
    return {
      most, weights,
      z: scores.map((score) => score * factor),
      entropy: weights.reduce((total, weight) => total - (weight && weight * Math.log(weight)), 0),
      gradient: weights.map((weight, j) => weight * ((j === k) - weights[k])),
    };
  }

  show({ temperature: T, width, scaled, more }) {
    const { ranges, masks, masked } = this;
    const n = ranges.length - !more;
    this.chosen = Math.min(this.chosen, n - 1);
    const k = this.chosen;
    const E = 4 ** width;
    const root = `√${E}`;
    const scores = ranges.slice(0, n).map((range, i) => (masked[i] ? -Infinity : range.valueAsNumber));
    this.found = this.softmax(scores, (scaled ? 1 : Math.sqrt(E)) / T, k);
    ranges.forEach((range, i) => {
      range.hidden = masks[i].hidden = i >= n;
      range.tabIndex = masks[i].tabIndex = i === k ? 0 : -1;
      range.setAttribute("aria-valuetext", masked[i] ? "masked" : short(range.valueAsNumber));
      masks[i].setAttribute("aria-pressed", masked[i]);
    });
    this.paint(scores, k, T, `z = score × ${root}${scaled ? ` ÷ ${root}` : ""} ÷ ${T.toFixed(2)}`);
    return (E > 1 && T ? `Dot products of random vectors spread ${root} times as far at width ${E} as at 1. ` : "")
      + this.sentence(scores, k, T);
  }

  paint(scores, k, T, formula) {
    const { found: { z, weights, entropy, gradient }, data: { labels, largest } } = this;
    const n = scores.length;
    const wide = this.left.clientWidth;
    const half = Math.min(26, 0.32 * wide / n);
    const x = (i) => wide * (i + 0.5) / n;
    const room = Math.max(3, Math.floor(wide / n / 6.5));
    const text = (i, y, words, more) => draw("text", { x: x(i), y, "text-anchor": "middle", ...more }, words);
    const title = (y, words) => draw("text", { y, "font-weight": 600 }, words);
    const line = (y) => draw("path", { d: `M0 ${y}H${wide}`, stroke: "currentColor" });
    const box = (left, width, from, to, more) => draw("rect", { x: left, y: Math.min(from, to), width,
      height: Math.abs(from - to), fill: "#21918c", stroke: "currentColor", "stroke-width": 0.5, ...more });
    // the bar of the chosen key is yellow, with a thick edge
    const bar = (i, from, to, more) => box(x(i) - half, 2 * half, from, to,
      { ...(i === k && { fill: "#ffd24d", "stroke-width": 2 }), ...more });
    const names = (y) => scores.map((_, i) => text(i, y,
      labels[i].length > room ? `${labels[i].slice(0, room - 1)}…` : labels[i], { "font-weight": i === k ? 700 : null }));
    const few = (number) => short(number, Math.abs(number) < 10 ? 2 : Math.abs(number) < 100 ? 1 : 0)
      .replace("-", "−").replace("Infinity", "∞");
    const power = (at) => (at > 6.9 || at < -4.6 ? `1e${Math.round(at / Math.LN10)}` : few(Math.exp(at)));
    this.left.replaceChildren(title(13, "scores: drag a bar, or use the arrow keys"), line(102), ...names(32),
      title(221, formula), title(257, "e to the power of z"),
      ...scores.flatMap((score, i) => {
        const gone = score === -Infinity;
        const y = 102 - 54 * this.ranges[i].valueAsNumber / largest;
        return [bar(i, 102, y, gone && { fill: "none", "stroke-dasharray": 3 }),
          box(x(i) - half - 3, 2 * half + 6, y - 3, y + 3, { rx: 3, fill: "currentColor", opacity: gone ? 0.4 : 1 }),
          text(i, y > 102 ? y + 17 : y - 8, few(score)),
          text(i, 238, T || gone ? few(z[i]) : "none"),
          text(i, 274, gone ? "0" : T ? power(z[i]) : "none")];
      }));
    this.right.replaceChildren(title(13, "weights: shares of their sum"), line(118), ...names(133), line(240),
      title(159, `entropy ${short(entropy)} of at most log ${n} = ${short(Math.log(n))}`),
      box(0, wide, 166, 174, { fill: "none" }), box(0, wide * (entropy / Math.log(n) || 0), 166, 174),
      title(198, `gradient: each weight by z of ${labels[k]}`),
      ...weights.flatMap((weight, i) => [bar(i, 118, 118 - 80 * weight), text(i, 112 - 80 * weight, weight ? short(weight) : "0")]),
      ...gradient.flatMap((slope, i) => [bar(i, 240, 240 - 80 * slope), text(i, 240 - 80 * slope + (slope < 0 ? 14 : -5),
        Math.abs(slope) >= 0.005 ? few(slope) : slope ? "≈0" : "0")]));
  }

  sentence(scores, k, T) {
    const { found: { weights, entropy, gradient, most }, data: { labels } } = this;
    if (most === -Infinity) {
      return "Every key is masked: all powers are 0, and so is their sum. 0 ÷ 0 has no value; this site sets the weights to 0.";
    }
    const first = scores.flatMap((score, i) => (score === most ? labels[i] : [])).join(" and ");
    if (!T) {
      return "T = 0 would divide by 0. As T falls to 0, a key that lies a gap below the largest score has e to the power of "
        + `−gap ÷ T times its weight, which falls to 0: in the limit all of it is left to ${first}.`;
    }
    return `Largest weight: ${first}, ${short(Math.max(...weights))}. Entropy ${short(entropy)}. `
      + `If z of ${labels[k]} grows a little, its weight grows ${gradient[k] ? `${short(gradient[k])} times as much` : "not at all"}.`;
  }
});
