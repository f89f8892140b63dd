// Multi-head walk: x, projections, heads, joined and output as blocks, a column for each head.
define("attn-head_walk", class extends Moving {
  build() {
    this.map = this.querySelector("svg.live");
    this.map.addEventListener("click", (event) => {
      const box = this.map.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left, event.clientY - box.top];
      const line = this.lines.findIndex(({ top, bottom }) => y >= top && y <= bottom);
      if (line >= 0) this.form.elements.step.value = String(Math.min(line, 5));
      const h = Math.floor((x - this.left) / this.piece);
      if (line > 0 && line < 6 && h >= 0 && h < this.form.elements.H.valueAsNumber) this.form.elements.head.value = h;
      this.change();
    });
  }

  begin() {
    const { head } = this.form.elements;
    head.max = this.data.H - 1;
    head.value = this.data.head;
    this.before = undefined;
  }

  // What the sizes make: the shape of each line, or none of what a head cannot have.
  sizes({ N, L, D, H }) {
    const rest = D % H;
    const E = Math.floor(D / H);
    const [whole, cut, square] = [[N, L, D], [N, H, L, E], [N, H, L, L]];
    return { E, rest, shapes: rest ? [whole] : [whole, cut, square, square, cut, whole, whole],
      scores: N * H * L * L, parameters: 4 * D * D };
  }

  show(controls) {
    const { elements } = this.form;
    const { N, L, D, H } = controls;
    elements.head.max = H - 1;
    const head = elements.head.valueAsNumber;
    this.querySelector("[data-of=head]").textContent = head;
    const step = Number(controls.step);
    const found = this.sizes(controls);
    const { rest, E, shapes } = found;
    const wide = this.map.clientWidth;
    const roomy = wide > 560;
    const left = roomy ? 84 : 80;
    const right = 20 + 6.7 * `(${[N, H, L, Math.max(E, L)].join(", ")})`.length + (roomy ? 90 : 0);
    const full = (wide - left - right) * D / elements.D.max;
    const piece = full * E / D;
    Object.assign(this, { left, piece, lines: [] });
    const marks = [];
    const box = (x, y, width, height, lit, look = {}) => marks.push(draw("rect", { x, y, width, height,
      fill: lit ? "#ffd24d" : "#21918c", "fill-opacity": lit ? 1 : 0.25, stroke: "currentColor", "stroke-width": lit ? 2 : 1, ...look }));
    const thick = 5 + 9 * L / elements.L.max;
    const tall = Math.max(Math.min(4 + 22 * L / elements.L.max, piece - 2), 2);
    const names = ["x", "Q K V", "scores", "weights", "heads", "joined", "output"];
    const letters = ["N, L, D", "N, H, L, E", "N, H, L, L", "N, H, L, L", "N, H, L, E", "N, L, D", "N, L, D"];
    let y = 4;
    names.forEach((name, at) => {
      const top = y;
      const strip = at < 2 || at > 4;
      const room = at === 1 ? 60 : strip ? 30 : 36;
      for (let copy = 0; copy < (at === 1 ? 3 : 1); copy += 1) {
        const high = strip ? thick : tall;
        const from = top + (at === 1 ? 7 + 17 * copy : (room - high) / 2);
        // a batch: sheets behind the first
        for (let k = Math.min(N, 3) - 1; k > 0 && strip; k -= 1) {
          marks.push(draw("path", { d: `M${left + 2 * k} ${from - 2 * k + 2}v-2h${full}v${high}h-2`, fill: "none", stroke: "currentColor" }));
        }
        if (at === 0 || at === 6 || (rest && at === 5)) box(left, from, full, high, false, at && rest ? { fill: "none", "stroke-dasharray": "3 3" } : {});
        else if (!rest || at === 1) {
          for (let h = 0; h < H; h += 1) {
            const across = strip ? piece : at === 4 ? Math.max(piece - 2, 1) : tall;
            box(left + h * piece + (piece - across) / 2, from, across, high, h === head);
          }
          if (rest) box(left + H * piece, from, full - H * piece, high, false, { fill: "#d55e00", "fill-opacity": 1 });
        } else box(left, from, full, high, false, { fill: "none", "stroke-dasharray": "3 3" });
      }
      const write = (x, below, text, look) => marks.push(draw("text", { x, y: top + below, ...look }, text));
      const lit = Math.min(at, 5) === step;
      write(6, room / 2 + 4, `${Math.min(at + 1, 6)} ${name}`, lit ? { "font-weight": 700 } : {});
      const shape = (index, text) => `${roomy ? `(${text}) = ` : ""}(${shapes[index].join(", ")})`;
      if (at === 1) {
        write(left + full + 10, 15, shape(0, letters[0]));
        write(left + full + 10, 33, rest ? `${rest} left over` : "cut:");
      }
      write(left + full + 10, at === 1 ? 51 : room / 2 + 4, at && rest ? "none" : shape(at, letters[at]));
      y += room;
      this.lines.push({ top, bottom: y });
    });
    const { top } = this.lines[step];
    const end = this.lines[step === 5 ? 6 : step].bottom;
    const frame = draw("rect", { x: 1, y: top, width: wide - 2, height: end - top, rx: 4, fill: "none", stroke: "currentColor", "stroke-width": 1.5 });
    this.map.replaceChildren(frame, ...marks);
    if (this.before !== undefined && this.before !== top && !still.matches) {
      frame.animate([{ transform: `translateY(${this.before - top}px)` }, { transform: "none" }], { duration: 300, easing: "ease-out" });
    }
    this.before = top;
    return this.sentence({ ...found, N, L, D, H, step });
  }

  sentence({ N, L, D, H, E, rest, scores, parameters, step }) {
    const many = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
    if (rest) {
      return `${D} numbers cannot be cut into ${H} equal heads: ${E} each leave ${rest} over. embed_dim (${D}) must be divisible by num_heads (${H}).`;
    }
    return `Step ${step + 1}: ${[
      `${many(N, "sequence")} of ${many(L, "token")}, each token a row of ${many(D, "number")}.`,
      `three matrices, ${D} × ${D}, make Q, K and V. Each row is cut into ${many(H, "piece")} of ${E}, one for each head.`,
      `in each head each query meets each key: ${N} × ${H} × ${L} × ${L} = ${scores} scores, each divided by √${E}.`,
      `the softmax makes weights of the scores. Each of the ${N * H * L} rows sums to 1.`,
      `each head averages its own values with its weights: ${many(L, "row")} of ${E}.`,
      `what the heads found is joined to rows of ${D}, and W_O mixes it. All four matrices hold ${parameters} numbers, for any H.`,
    ][step]}`;
  }
});
