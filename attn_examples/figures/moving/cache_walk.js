// KV cache: what each step computes with and without one, and the bytes that it takes.
define("attn-cache_walk", class extends Moving {
  build() {
    this.text = this.querySelector(".text");
    this.T = this.data.tokens.length;
    const go = (kind, by) => this.querySelector(kind).addEventListener("click", () => (
      this.change({ t: Math.min(Math.max(this.t + by, 1), this.T) })));
    go(".back", -1);
    go(".next", 1);
  }

  begin() { this.t = this.data.step; }

  // What step t computes: tokens projected to query, key and value, and scores.
  work(t, cached) { return cached ? [1, t] : [t, t * t]; }

  total(t, cached) {
    const sum = [0, 0];
    for (let s = 1; s <= t; s += 1) this.work(s, cached).forEach((n, i) => { sum[i] += n; });
    return sum;
  }

  // Bytes of the cache of a model, with its own number of key heads or another.
  bytes(model, tokens, heads) {
    const [, layers, , own, width, window] = this.data.models[model];
    return 2 * layers * (heads ?? own) * width * Math.min(tokens, window || tokens) * 2;
  }

  written(count) {
    const unit = Math.min(Math.floor(Math.log2(count) / 10), 4);
    const value = count / 1024 ** unit;
    return `${value.toFixed(!unit || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2)} ${["bytes", "KiB", "MiB", "GiB", "TiB"][unit]}`;
  }

  show({ model, size }) {
    const { t, T, data: { tokens, models } } = this;
    this.text.replaceChildren(tokens.slice(0, t - 1).join(" "), " ", Object.assign(document.createElement("b"), { textContent: tokens[t - 1] }));
    this.walk(this.querySelector(".walk"));
    const held = 2 ** size;
    const [name, layers, heads, own, width, window, source] = models[model];
    this.form.elements.size.setAttribute("aria-valuetext", `${held} tokens`);
    const kept = Math.min(held, window || held);
    this.querySelector(".sum").textContent = `2 · ${layers} layers · ${own} key head${own > 1 ? "s" : ""} · ${width} · ${kept} token${kept > 1 ? "s" : ""}${kept < held ? ` (of ${held}, a window)` : ""} · 2 bytes = ${this.written(this.bytes(model, held))} (${source})`;
    this.bars(this.querySelector(".bytes"), model, held, heads, own);
    const [[p, s], [q, u]] = [this.work(t, false), this.work(t, true)];
    return `Step ${t} of ${T}, ${quote(tokens[t - 1])}: without a cache ${p} token${p > 1 ? "s are" : " is"} projected and ${s} score${s > 1 ? "s" : ""} computed; with one, ${q} and ${u}. `
      + `${name} keeps ${this.written(this.bytes(model, held))} for ${held} token${held > 1 ? "s" : ""}.`;
  }

  walk(svg) {
    const { t, T } = this;
    const half = svg.clientWidth / 2;
    const left = 46;
    const size = Math.min(18, (half - left - 8) / T);
    const parts = [];
    const cell = (x, y, what) => {
      parts.push(draw("rect", { x, y, width: size - 2, height: size - 2, "stroke-width": what ? 1 : 0.5,
        fill: { now: "#ffd24d", masked: "#ffd24d", kept: "#21918c" }[what] ?? "none", stroke: "currentColor", opacity: what ? null : 0.5 }));
      const [cx, cy, r] = [x + size / 2 - 1, y + size / 2 - 1, 2.5];
      if (what === "now") parts.push(draw("circle", { cx, cy, r, fill: "#14181f" }));
      if (what === "masked") parts.push(draw("path", { d: `M${cx - r} ${cy - r}l5 5m-5 0l5-5`, stroke: "#14181f" }));
    };
    const write = (x, y, text, end) => parts.push(draw("text", { x, y, "text-anchor": end ? "end" : null }, text));
    [["now", "computed in this step"], ["masked", "… and hidden by the mask"], ["kept", "kept from before"]].forEach(([what, text], at) => {
      const x = at * Math.min(half * 0.66, 205);
      cell(x, 0, what);
      write(x + size + 2, 12, half < 250 ? text.replace("computed in this step", "computed now").replace("… and hidden by the mask", "… masked") : text);
    });
    [false, true].forEach((cached) => {
      const x = left + (cached ? half : 0);
      const row = (y, name, what) => {
        write(x - 5, y + 11, name, true);
        for (let j = 0; j < T; j += 1) cell(x + j * size, y, what(j));
      };
      write(x - left + 6, 38, `one head, ${cached ? "with a" : "no"} cache`);
      const is = (j) => (j >= t ? "" : cached && j < t - 1 ? "kept" : "now");
      row(46, "keys", is);
      row(46 + size, "values", is);
      for (let i = 0; i < T; i += 1) {
        const now = i < t && (!cached || i === t - 1);
        row(52 + (i + 2) * size, i === t - 1 ? "scores" : "", (j) => (now && j < t ? (j > i ? "masked" : "now") : ""));
      }
      const [p, s] = this.work(t, cached);
      const [all, scores] = this.total(t, cached);
      const y = 70 + (T + 2) * size;
      write(x - left + 6, y, `now: ${p} projected, ${s} score${s > 1 ? "s" : ""}`);
      write(x - left + 6, y + 16, `so far: ${all} and ${scores}`);
    });
    svg.replaceChildren(...parts);
  }

  bars(svg, model, held, heads, own) {
    const room = svg.clientWidth - 228;
    const most = this.bytes(model, held, heads);
    svg.replaceChildren(...[...new Set([heads, own, 1])].flatMap((count, at) => {
      const y = at * 24;
      const long = Math.max(room * this.bytes(model, held, count) / most, 1);
      const kind = count === heads ? "MHA" : count === 1 ? "MQA" : "GQA";
      return [
        draw("text", { x: 0, y: y + 14, "font-weight": count === own ? 700 : null }, `${count === own ? "▸ " : ""}${kind}, ${count} key head${count > 1 ? "s" : ""}`),
        draw("rect", { x: 150, y: y + 2, width: long, height: 16, stroke: "#21918c", fill: count === own ? "#21918c" : "none" }),
        draw("text", { x: 156 + long, y: y + 14, "font-weight": count === own ? 700 : null }, this.written(this.bytes(model, held, count))),
      ];
    }));
  }
});
