// Online softmax: tiles of keys pass by; a maximum and two sums are kept, and rescaled.
define("attn-online_softmax", class extends Moving {
  build() {
    this.svg = this.querySelector("svg.live");
    this.keys = [...this.querySelectorAll(".keys button")];
    this.rows = [...this.querySelectorAll(".ledger tbody tr")];
    this.scaled = this.querySelectorAll(".ledger thead th")[1];
    this.steps = [...this.querySelectorAll(".controls [type=button]")];
    rove(this.querySelector(".keys"));
    this.keys.forEach((key, at) => key.addEventListener("click", () => {
      const i = this.order[at];
      this.masked[i] = !this.masked[i];
      this.change();
    }));
    this.steps.forEach((step, on) => step.addEventListener("click", () => this.change({ at: this.at + (on || -1) })));
    // these stay, so that they can glide
    this.rest = draw("g");
    this.terms = this.keys.map(() => draw("rect", { stroke: "currentColor", "stroke-width": 0.5 }));
    this.frame = draw("rect", { y: 45, rx: 4, fill: "currentColor", "fill-opacity": 0.08, stroke: "currentColor", "stroke-opacity": 0.6 });
    this.svg.append(this.frame, this.rest, ...this.terms);
  }

  begin() {
    this.masked = [...this.data.masked];
    this.at = 1;
  }

  // What keys add to the sum, and to each number of the mix, below a maximum.
  sums(from, to, m) {
    const terms = this.s.map((score, j) => (j < from || j >= to || score === -Infinity ? 0 : Math.exp(score - m)));
    const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
    return { m, terms, l: sum(terms), o: this.v.map((value) => sum(value.map((number, j) => number * terms[j]))) };
  }

  // Read tiles: what was kept is rescaled to the new maximum, and the tile is added.
  read(tile, count) {
    const { s } = this;
    let now = this.sums(0, 0, -Infinity);
    let found = { before: now, rescaled: now, own: now, scale: 1 };
    for (let t = 0; t < count; t += 1) {
      const before = now;
      const top = Math.max(...s.slice(t * tile, (t + 1) * tile));
      const m = Math.max(before.m, top);
      // with no key allowed so far nothing is kept, and −∞ − (−∞) has no value
      const scale = m === -Infinity ? 1 : Math.exp(before.m - m);
      const own = this.sums(t * tile, (t + 1) * tile, m);
      const rescaled = { m, l: before.l * scale, o: before.o.map((number) => number * scale) };
      now = { m, l: rescaled.l + own.l, o: rescaled.o.map((number, c) => number + own.o[c]) };
      found = { before, rescaled, own: { ...own, m: top }, scale };
    }
    return { ...found, now, plain: this.sums(0, s.length, Math.max(...s)) };
  }

  show({ tile, order }) {
    const { data: { scores, values, labels }, masked } = this;
    const n = scores.length;
    const tiles = Math.ceil(n / tile);
    this.at = Math.min(Math.max(this.at, 0), tiles);
    this.order = scores.map((_, i) => i);
    if (Number(order)) this.order.sort((a, b) => (scores[a] - scores[b]) * (order === "1" ? 1 : -1));
    this.s = this.order.map((i) => (masked[i] ? -Infinity : scores[i]));
    this.v = values.map((row) => this.order.map((i) => row[i]));
    this.found = this.read(tile, this.at);
    const { before, rescaled, own, now, plain, scale } = this.found;
    this.keys.forEach((key, at) => {
      const i = this.order[at];
      key.textContent = labels[i];
      key.setAttribute("aria-label", `mask ${labels[i]}`);
      key.setAttribute("aria-pressed", masked[i]);
    });
    this.steps.forEach((step, on) => step.setAttribute("aria-disabled", this.at === (on ? tiles : 0)));
    [before, rescaled, own, now, plain].forEach(({ m, l, o }, column) => {
      [m, l, ...o, ...o.map((number) => number && number / l)].forEach((number, row) => {
        this.rows[row].cells[column + 1].textContent = this.say(number, 3);
      });
    });
    this.scaled.textContent = now.m === -Infinity ? "×" : `× ${this.say(scale, 2)}`;
    const from = Math.max((this.at - 1) * tile, 0);
    const to = Math.min(this.at * tile, n);
    this.paint(from, to);
    return this.sentence(tiles, from, to, scale);
  }

  say(number, digits) { return number ? short(number, digits).replace("-", "−").replace("Infinity", "∞") : "0"; }

  paint(from, to) {
    const { s, v, found: { before, now: { m } } } = this;
    const n = s.length;
    const wide = (this.svg.clientWidth - 14) / n;
    const half = Math.min(18, 0.34 * wide);
    const digits = wide < 34 ? 1 : 2;
    const x = (j) => wide * (j + 0.5);
    const finite = this.data.scores;
    const low = Math.min(0, ...finite);
    const unit = 56 / (Math.max(0.1, ...finite) - low);
    const y = (score) => 126 + (low - score) * unit;
    const text = (j, at, number) => draw("text", { x: x(j), y: at, "text-anchor": "middle" }, this.say(number, digits));
    const title = (at, words) => draw("text", { y: at, "font-weight": 600 }, words);
    const fill = (j) => (j < from ? "#21918c" : j < to ? "#ffd24d" : "none");
    const { terms } = this.sums(0, to, m);
    const old = this.sums(0, from, before.m).terms;
    terms.forEach((term, j) => {
      const place = { x: x(j) - half, width: 2 * half, y: 216 - 46 * term, height: 46 * term, fill: fill(j) };
      for (const [key, value] of Object.entries(place)) this.terms[j].setAttribute(key, value);
    });
    this.frame.setAttribute("width", wide * (to - from));
    this.frame.setAttribute("height", 208 + 14 * v.length);
    this.frame.style.transform = `translateX(${wide * from}px)`;
    const line = m === -Infinity ? [] : [draw("path", { d: `M0 ${y(m)}H${wide * to}`, stroke: "#d55e00", "stroke-width": 2,
      "stroke-dasharray": "6 3" }), draw("text", { x: wide * to + 2, y: y(m) + 4 }, "m")];
    this.rest.replaceChildren(title(13, "scores; press a key to mask it"),
      title(234, "values"), title(151, "e to the power of score − m, rescaled as m rises"),
      draw("path", { d: `M0 ${y(0)}H${wide * n}M0 216H${wide * n}`, stroke: "currentColor" }),
      ...s.flatMap((score, j) => [
        ...(score === -Infinity ? [] : [draw("rect", { x: x(j) - half, width: 2 * half, y: Math.min(y(0), y(score)),
          height: Math.abs(score) * unit, fill: fill(j), stroke: "currentColor", "stroke-dasharray": j < to ? null : 3 })]),
        text(j, 61, score),
        draw("rect", { x: x(j) - half, width: 2 * half, y: 216 - 46 * old[j], height: 46 * old[j], fill: "none",
          stroke: "currentColor", "stroke-dasharray": 2 }),
        ...(j < to ? [text(j, 212 - 46 * Math.max(terms[j], old[j]), terms[j])] : []),
        ...v.map((value, c) => text(j, 249 + 14 * c, value[j])),
      ]), ...line);
  }

  sentence(tiles, from, to, scale) {
    const { before, now, plain } = this.found;
    if (!this.at) return "Nothing is read yet: the maximum is −∞, and both sums are 0.";
    const output = ({ l, o }) => o.map((number) => this.say(number && number / l, 3)).join(", ");
    const end = this.at < tiles ? `Output so far: ${output(now)}.`
      : `All are read: ${output(now)}, and the plain softmax gives ${output(plain)}.`;
    const start = `Tile ${this.at} of ${tiles}: `;
    if (now.m === -Infinity) {
      return `${start}all keys so far are masked. −∞ − (−∞) has no value, and 0 ÷ 0 neither; nothing is kept, and this site gives 0. ${end}`;
    }
    return `${start}${before.m === -Infinity ? "the first maximum" : scale < 1
      ? `the maximum rises by ${this.say(now.m - before.m, 2)}, so both sums are multiplied by e to the power of −${this.say(now.m - before.m, 2)} = ${this.say(scale, 2)}`
      : "the maximum stays, and nothing is rescaled"}. ${end}`;
  }
});
