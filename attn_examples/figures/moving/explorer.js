// Attention explorer: a sentence with arcs, and its map; where one token looks, or who looks at it.
define("attn-explorer", class extends Moving {
  build() {
    this.weights = unpack(Uint16Array, this.data.weights);
    [this.layers, this.heads, this.L, this.S] = this.data.shape;
    this.asks = this.data.asks;
    this.answers = this.data.answers ?? this.asks;
    this.groups = [...this.querySelectorAll(".tokens")];
    this.buttons = this.groups.map((group) => [...group.children]);
    this.arcs = this.querySelector(".sentence > svg");
    this.map = this.querySelector(".map svg");  // there may be none
    this.stops = this.groups.map((group) => rove(group));
    this.groups.forEach((group, side) => {
      const at = (event) => this.buttons[side].indexOf(event.target.closest("button"));
      const choose = (event) => {
        const place = at(event);
        if (place >= 0) this.change({ place, side: this.cross ? side : this.side, over: null });
      };
      for (const kind of ["focusin", "click"]) group.addEventListener(kind, choose);
      group.addEventListener("pointerover", (event) => {
        const place = at(event);
        if (event.pointerType === "mouse" && place >= 0) {
          this.change({ over: { place, side: this.cross ? side : this.side } });
        }
      });
      group.addEventListener("pointerleave", () => this.change({ over: null }));
      group.addEventListener("scroll", () => this.change());
    });
    this.map?.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse") this.change({ over: this.cell(event) });
    });
    this.map?.addEventListener("pointerleave", () => this.change({ over: null }));
    this.map?.addEventListener("click", (event) => {
      const cell = this.cell(event);
      if (cell) this.change({ ...cell, over: null });
    });
  }

  begin() {
    Object.assign(this, { place: this.data.chosen, side: 0, over: null });
  }

  get cross() { return this.groups.length > 1; }

  weight(i, j) { return this.weights[this.offset + i * this.S + j] / 65535; }

  // The row or column under a pointer on the map.
  cell(event) {
    const box = this.map.getBoundingClientRect();
    const { left, top, size } = this.frame;
    const i = Math.floor((event.clientY - box.top - top) / size);
    const j = Math.floor((event.clientX - box.left - left) / size);
    if (i < 0 || j < 0 || i >= this.L || j >= this.S) return null;
    return { place: this.side ? j : i, side: this.side, other: this.side ? i : j };
  }

  show({ layer = 0, head = 0, turn }) {
    if (!this.cross && turn) this.side = turn === "asks" ? 0 : 1;
    const chosen = this.cross ? this.side : 0; // the group that Tab comes to where it stands
    this.stops[chosen](this.buttons[chosen][this.place]);
    this.offset = (Number(layer) * this.heads + Number(head)) * this.L * this.S;
    const { place, side, other } = this.over ?? this;
    const [mine, theirs] = side ? [this.answers, this.asks] : [this.asks, this.answers];
    const found = theirs.map((_, at) => (side ? this.weight(at, place) : this.weight(place, at)));
    const arcs = this.join(found, place, side); // what is measured before all that is written
    this.mark(found, place, side);
    this.arcs.replaceChildren(...arcs);
    if (this.map) this.drawMap(place, side);
    return this.sentence(found, mine[place], theirs, side, this.over ? other : undefined);
  }

  // Write each weight below its token, and shade the token by it: where that changes.
  mark(found, place, side) {
    const shown = this.groups[this.cross ? 1 - side : 0];
    const many = found.length > 20;
    this.groups.forEach((group, at) => this.buttons[at].forEach((button, i) => {
      const weight = group === shown ? found[i] : undefined;
      const pressed = i === place && (!this.cross || at === side);
      const text = weight === undefined || (many && weight > 0 && weight < 0.005) ? "" : weight ? short(weight) : "0";
      const shade = Math.round(60 * (weight ?? 0));
      const now = [pressed, text, shade].join();
      if (button.now === now) return;
      button.now = now;
      button.setAttribute("aria-pressed", pressed);
      if (shade) button.style.background = `rgb(33 145 140 / ${shade}%)`;
      else button.removeAttribute("style");
      button.lastChild.textContent = text;
    }));
  }

  // Return an arc from the chosen token to each of the others, as thick as its weight.
  join(found, place, side) {
    const box = this.arcs.getBoundingClientRect();
    const spot = (group, at, below) => {
      const { left, width, top, bottom } = this.buttons[group][at].getBoundingClientRect();
      return [left + width / 2 - box.left, (below ? bottom : top) - box.top];
    };
    const from = this.cross ? side : 0;
    const to = this.cross ? 1 - side : 0;
    const [x, y] = spot(from, place, this.cross && from === 0);
    return found.flatMap((weight, at) => {
      if (weight < (found.length > 20 ? 0.03 : 0.005)) return [];
      const [u, v] = spot(to, at, this.cross && to === 0);
      const up = Math.min(Math.abs(u - x) / 3 + 14, 55);
      const d = this.cross ? `M${x} ${y}L${u} ${v}`
        : u === x && v === y ? `M${x - 5} ${y}c-12-24 22-24 10 0`
          : `M${x} ${y}C${x} ${y - up} ${u} ${v - up} ${u} ${v}`;
      const look = { fill: "none", stroke: "#21918c", "stroke-linecap": "round" };
      return [draw("path", { d, ...look, "stroke-width": 1 + 7 * weight, opacity: 0.35 + 0.65 * weight })];
    });
  }

  drawMap(place, side) {
    const { clientWidth: wide, clientHeight: high } = this.map;
    const named = Math.max(this.L, this.S) <= 24;
    const room = named ? Math.min(80, Math.max(72, 8 + 6.5 * Math.max(...this.asks.map((token) => token.length)))) : 72;
    const above = named ? Math.min(80, Math.max(34, 8 + 5.5 * Math.max(...this.answers.map((token) => token.length)))) : 34;
    const size = Math.max(Math.min((wide - room - 20) / this.S, (high - above - 4) / this.L), 0.5);
    this.frame = { left: room, top: above, size };
    const shape = [this.offset, wide, high].join();
    if (this.drawn !== shape) {
      this.drawn = shape;
      const href = mapImage(this.L, this.S, (i, j) => this.weight(i, j));
      const cells = { x: room, y: above, width: size * this.S, height: size * this.L };
      const label = (token, at, across) => draw("text", {
        "font-size": Math.min(12, size * 0.95), "text-anchor": across ? "start" : "end",
        transform: across ? `translate(${room + size * (at + 0.65)} ${above - 5}) rotate(-50)`
          : `translate(${room - 5} ${above + size * (at + 0.5) + 4})`,
      }, token.length > 11 ? `${token.slice(0, 10)}…` : token);
      this.box = draw("rect", { fill: "none", stroke: "#d55e00", "stroke-width": 2.5 });
      this.map.replaceChildren(
        draw("image", { href, ...cells, style: "image-rendering: pixelated", preserveAspectRatio: "none" }),
        draw("rect", { ...cells, fill: "none", stroke: "currentColor", "stroke-width": 0.5 }),
        ...(named ? this.asks.map((token, i) => label(token, i)) : []),
        ...(named ? this.answers.map((token, j) => label(token, j, true)) : []),
        ...["answers →", "asks ↓"].map((word, line) => draw("text", {
          x: room - 8, y: above - 20 + 14 * line, "text-anchor": "end", "font-style": "italic" }, word)),
        this.box,
      );
    }
    const line = side ? { x: room + size * place, y: above, width: size, height: size * this.L }
      : { x: room, y: above + size * place, width: size * this.S, height: size };
    for (const [key, value] of Object.entries(line)) this.box.setAttribute(key, value);
  }

  // Say it: the chosen one, or the three largest and the sum of all.
  sentence(found, token, theirs, side, other) {
    const name = (at) => quote(theirs[at]);
    const me = quote(token);
    const sum = short(found.reduce((total, weight) => total + weight, 0));
    if (other !== undefined) {
      const [asks, answers] = side ? [name(other), me] : [me, name(other)];
      return `${asks} looks at ${answers}: ${found[other] ? short(found[other]) : "0"}.`;
    }
    const first = found.map((_, at) => at).filter((at) => found[at] > 0)
      .sort((a, b) => found[b] - found[a]).slice(0, 3).map((at) => `${name(at)} ${short(found[at])}`);
    if (!first.length) return side ? `Nobody looks at ${me}.` : `${me} may look at nothing: all its weights are 0.`;
    return side ? `${me} is looked at by ${first.join(", ")}. A column need not sum to 1: this one sums to ${sum}.`
      : `${me} looks at ${first.join(", ")}. Its row sums to ${sum}.`;
  }
});
