// Positions: hands of clocks, added to a token or turning a query and a key, and the score
// against the distance.
define("attn-positions", class extends Moving {
  build() {
    this.n = this.data.length;
    this.E = this.data.tokens[0].length;
    this.svg = this.querySelector("svg.live");
    const shown = Math.min(this.E / 2, 8);
    this.hands = Array.from({ length: shown }, (_, at) => Math.round(at * (this.E / 2 - 1) / (shown - 1 || 1)));
    this.form.addEventListener("input", ({ target }) => this.follow(target.name));
    this.svg.addEventListener("click", ({ clientX, clientY }) => {
      const { left, top } = this.svg.getBoundingClientRect();
      if (clientY - top < this.top) return;
      const { query, key } = this.form.elements;
      key.value = query.value - Math.round((clientX - left - this.middle) / this.step);
      this.apart = query.value - key.value;
      this.change();
    });
  }

  // Moved together, the two keep their distance, also at the first and the last place.
  follow(name) {
    const { query, key, both } = this.form.elements;
    if (!both.checked || (name !== "query" && name !== "key")) return;
    const at = name === "query" ? query.valueAsNumber : key.valueAsNumber + this.apart;
    query.value = Math.min(Math.max(at, 0, this.apart), this.n - 1, this.n - 1 + this.apart);
    key.value = query.value - this.apart;
  }

  // Where the hands of a token point at each place: [right, up] by place and hand. Rotary
  // angles grow from a pair's first number to its second, so there the first points up.
  place(token, added, base) {
    return Array.from({ length: this.n }, (_, t) => Array.from({ length: this.E / 2 }, (_, r) => {
      const angle = t * base ** (-2 * r / this.E);
      const [sin, cos] = [Math.sin(angle), Math.cos(angle)];
      const [one, two] = token?.slice(2 * r) ?? [added ? 0 : 1, 0];
      return added ? [one + sin, two + cos] : [two * cos + one * sin, one * cos - two * sin];
    }));
  }

  // What hand r adds to the score of a query at i and a key at j.
  share(i, j, r) {
    const [[a, b], [c, d]] = [this.q[i][r], this.k[j][r]];
    return (a * c + b * d) / Math.sqrt(this.E);
  }

  // Work out the scores of all pairs, and what they span at each distance.
  work(added, tokens, base) {
    const state = [added, tokens, base].join();
    if (this.worked === state) return;
    this.worked = state;
    const [one, two] = this.data.tokens;
    this.content = [[], [one, one], [one, two]][tokens];
    [this.q, this.k] = [0, 1].map((at) => this.place(this.content[at], added, base));
    this.spans = Array.from({ length: 2 * this.n - 1 }, () => [Infinity, -Infinity]);
    this.scores = this.q.map((hands, i) => this.k.map((_, j) => {
      const score = hands.reduce((sum, _, r) => sum + this.share(i, j, r), 0);
      const span = this.span(i - j);
      span[0] = Math.min(span[0], score);
      span[1] = Math.max(span[1], score);
      return score;
    }));
    this.longest = [this.q, this.k].map((all) => Math.max(...all.flat().map((hand) => Math.hypot(...hand))) || 1);
  }

  span(distance) { return this.spans[distance + this.n - 1]; }

  show({ kind, tokens, query: i, key: j, both, base: at }) {
    const base = this.data.bases[at];
    const input = this.form.elements.base;
    input.setAttribute("aria-valuetext", base);
    input.nextElementSibling.textContent = base;
    if (!both) this.apart = i - j;
    const added = kind === "sinusoidal";
    this.work(added, tokens, base);
    this.svg.replaceChildren(...this.clocks(i, j, added), ...this.curve(i, j));
    return this.sentence(i, j, base);
  }

  // A clock for each hand: a filled end for the query, an open one for the key, the turn
  // between them, and what both add to the score.
  clocks(i, j, added) {
    const wide = this.svg.clientWidth / this.hands.length;
    const radius = Math.min(wide / 2 - 3, 38);
    const unit = radius / Math.max(...this.longest);
    const low = radius + 40;
    this.top = radius + low + 46;
    return this.hands.map((r, at) => {
      const ends = [this.q[i][r], this.k[j][r]].map(([x, y]) => [x * unit, -y * unit]);
      const inner = Math.min(radius * 0.6, ...ends.map((end) => Math.hypot(...end)));
      const [from, to] = ends.map(([x, y]) => Math.atan2(y, x));
      const [p, s] = [from, to].map((angle) => `${inner * Math.cos(angle)} ${inner * Math.sin(angle)}`);
      const high = 16 * this.share(i, j, r) * Math.sqrt(this.E) / this.longest[0] / this.longest[1];
      const hand = (token, [x, y], color, width, fill) => {
        const start = added && token ? `${token[2 * r] * unit} ${-token[2 * r + 1] * unit}` : "0 0";
        return [
          draw("path", { d: `M0 0L${start}`, stroke: "currentColor", "stroke-dasharray": "2 2" }),
          draw("path", { d: `M${start}L${x} ${y}`, stroke: color, "stroke-width": width }),
          draw("circle", { cx: x, cy: y, r: radius / 9, fill, stroke: color, "stroke-width": 2 }),
        ];
      };
      return draw("g", { transform: `translate(${wide * (at + 0.5)} ${radius + 4})` },
        draw("path", { d: `M0 0L${p}A${inner} ${inner} 0 0 ${Math.sin(to - from) < 0 ? 0 : 1} ${s}Z`, fill: "#ffd24d" }),
        draw("circle", { r: radius, fill: "none", stroke: "currentColor", "stroke-width": 0.8 }),
        ...hand(this.content[1], ends[1], "#21918c", 2, "none"),
        ...hand(this.content[0], ends[0], "#d55e00", 3, "#d55e00"),
        draw("text", { y: radius + 16, "text-anchor": "middle" }, `${at || wide < 60 ? "" : "hand "}${r}`),
        draw("path", { d: `M-14 ${low}h28`, stroke: "currentColor" }),
        draw("rect", { x: -9, width: 18, y: low - Math.max(high, 0), height: Math.abs(high), fill: "#21918c" }),
      );
    });
  }

  curve(i, j) {
    const { n } = this;
    const wide = this.svg.clientWidth;
    const [low, high] = [Math.min(...this.spans.flat()), Math.max(...this.spans.flat())];
    const bottom = this.svg.clientHeight - 36;
    this.step = (wide - 56) / (2 * n - 2);
    this.middle = 44 + this.step * (n - 1);
    const x = (distance) => this.middle + this.step * distance;
    const y = (score) => bottom - (bottom - this.top) * (score - low) / (high - low || 1);
    const line = (points) => points.map(([d, score]) => `${x(d)} ${y(score)}`).join("L");
    const [lower, upper] = [0, 1].map((end) => this.spans.map((span, at) => [at - n + 1, span[end]]));
    const text = (left, top, words, anchor) => draw("text", { x: left, y: top, "text-anchor": anchor }, words);
    const far = n >> 1;
    return [
      draw("path", { d: `M44 ${this.top}H${wide - 12}M44 ${bottom}H${wide - 12}M${x(0)} ${this.top}V${bottom}`, stroke: "currentColor", opacity: 0.3 }),
      ...[low, high].map((score) => text(38, y(score) + 4, this.write(score), "end")),
      ...[-far, 0, far].map((d) => text(x(d), bottom + 16, String(d).replace("-", "−"), "middle")),
      text(x(0), bottom + 32, "distance: steps from the key to the query", "middle"),
      text(0, this.top - 11, "bars: parts; line: score; band: all pairs"),
      draw("path", { d: `M${line([...lower, ...upper.reverse()])}Z`, fill: "#21918c", "fill-opacity": 0.35, stroke: "#21918c" }),
      draw("path", { d: `M${line(this.scores[i].map((score, at) => [i - at, score]))}`, fill: "none", stroke: "currentColor", "stroke-width": 1.5 }),
      draw("circle", { cx: x(i - j), cy: y(this.scores[i][j]), r: 5, fill: "#d55e00", stroke: "currentColor" }),
    ];
  }

  write(number) { return short(Math.abs(number) < 0.005 ? 0 : number).replace("-", "−"); }

  sentence(i, j, base) {
    const distance = Math.abs(i - j);
    const pairs = this.n - distance;
    const [low, high] = this.span(i - j);
    const where = distance ? `the key ${distance} ${i > j ? "back" : "ahead"}` : "the key there too";
    const others = pairs === 1 ? "No other pair here is so far apart."
      : high - low < 1e-9 ? `All ${pairs} pairs at this distance have this score: move both, and it stays.`
        : `The ${pairs} pairs at this distance score from ${this.write(low)} to ${this.write(high)}: the content is in the sum, so it matters where they stand.`;
    return `Query at ${i}, ${where}: score ${this.write(this.scores[i][j])}. ${others}${base === 1 ? " With base 1 all hands turn at one speed." : ""}`;
  }
});
