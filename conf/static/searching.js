// What types into the search. conf/extensions/render/search.py puts the engine (MiniSearch)
// before it and the sections of all pages after it; site.js fetches the three as one.
const startSearch = (pages, synonyms) => {
  const SHOWN = 12;
  const OF_A_PAGE = 3;
  const root = document.currentScript.src;
  const stopped = new Set(`a about am an and any are as at be been by can could did do does for from
    get had has have how i if in into is it its like many me mean meaning means my need of on or our
    please should so tell than that the their them then there these they this those to use using
    was we were what whats when where which who why will with work works would you your`
    .split(/\s+/));

  // The core of a word, the same in its plural and in British and American spelling
  const fold = (word) => word.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const cores = new Map();  // of words that were met: there are few, and each comes often
  const core = (word) => {
    if (cores.has(word)) return cores.get(word);
    const folded = fold(word)
      .replace(/is(?=(e|es|ed|er|ers|ing|ation|ations)$)/, "iz").replace(/ys(?=e[drs]?$)/, "yz")
      .replace(/our(?=s?$|ed$|ing$)/, "or").replace(/tre$/, "ter").replace(/ies$/, "y");
    cores.set(word, folded.replace(/(?<=[^su])s$/, "").replace(/(?<=[aeiouy].*..)(ing|ed)$/, "")
      .replace(/(?<=..)e$/, "").replace(/([bdglmnprt])\1$/, "$1"));
    return cores.get(word);
  };
  // A name in code is one word, and the words that it is made of
  const words = (text) => text.replace(/√/g, " sqrt ").match(/[\p{L}\p{N}_]+/gu) ?? [];
  const parts = (word) => word.replace(/(?<=\p{Ll})(?=\p{Lu})/gu, "_").split("_").filter(Boolean);
  const pieces = (word) => {
    const inside = parts(word);
    return inside.length > 1 ? [word, ...inside] : inside;
  };

  const sections = [];
  for (const [path, weight, rows] of pages) {
    for (const [anchor, title, text, known] of rows) {
      sections.push({
        id: sections.length, path, anchor, title, text, known, weight, page: anchor && rows[0][1],
      });
    }
  }
  const engine = new MiniSearch({
    fields: ["title", "known", "page", "text"],
    tokenize: (text) => words(text).flatMap(pieces),
    processTerm: core,
    searchOptions: {
      tokenize: (text) => text.split(" "),
      boost: { title: 5, known: 4, page: 1.5 },
      prefix: (term) => term.length > 2,
      boostDocument: (id) => sections[id].weight,
      combineWith: "AND",
    },
  });
  engine.addAll(sections);

  // Each group of words that mean the same, by the cores of what one types
  const kept = (list) => list.filter((word) => !stopped.has(fold(word)));
  const same = new Map();
  for (const group of synonyms) {
    for (const name of group) same.set(words(name).map(core).join(" "), group);
  }
  const longest = Math.max(...[...same.keys()].map((key) => key.split(" ").length));

  // What is asked for, as groups: ways to say one thing, the one that was typed first
  const groupsOf = (asked) => {
    const groups = [];
    for (let at = 0; at < asked.length;) {
      let length = Math.min(longest, asked.length - at);
      const key = () => asked.slice(at, at + length).map(core).join(" ");
      while (length && !same.has(key())) length -= 1;
      if (length) {
        const others = same.get(key()).map(words);
        groups.push([asked.slice(at, at + length), ...others].map((way) => kept(way).join(" ")));
      } else if (!stopped.has(fold(asked[at]))) {
        groups.push([asked[at], parts(asked[at]).join(" ")]);
      }
      at += length || 1;
    }
    return groups;
  };

  // Sections that answer to most of what is asked, and well, come first
  const search = (query) => {
    const asked = words(query);
    const groups = groupsOf(asked);
    const found = new Map();
    for (const ways of groups) {
      const best = new Map();
      const look = (options) => ways.forEach((way, rank) => {
        for (const hit of engine.search(way, options)) {
          const score = hit.score * (rank ? 0.7 : 1);
          if (score > (best.get(hit.id)?.score ?? 0)) best.set(hit.id, { score, terms: hit.terms });
        }
      });
      look({});
      if (!best.size) look({ fuzzy: (term) => term.length > 3 && 0.25 });
      for (const [id, { score, terms }] of best) {
        const one = found.get(id) ?? { ...sections[id], score: 0, answers: 0, terms: new Map() };
        one.score += score;
        one.answers += 1;
        terms.forEach((term) => one.terms.set(term, 1 / Math.log(best.size + 2)));
        found.set(id, one);
      }
    }
    // "why" and "where" tell headings apart that are alike in all else
    const rest = asked.filter((word) => stopped.has(fold(word))).join(" ");
    for (const { id, score } of engine.search(rest, { fields: ["title"], combineWith: "OR", prefix: false })) {
      if (found.has(id)) found.get(id).score += score / 2;
    }
    const gist = (text) => kept(words(text)).map(core).join(" ");
    for (const one of found.values()) {
      one.score *= (one.answers / groups.length) ** 2;
      if (gist(one.title) === gist(query)) one.score *= 4;
    }
    const ofPage = new Map();
    return [...found.values()].sort((a, b) => b.score - a.score || a.id - b.id).filter(({ path }) => {
      ofPage.set(path, (ofPage.get(path) ?? 0) + 1);
      return ofPage.get(path) <= OF_A_PAGE;
    }).slice(0, SHOWN);
  };

  // The sentence that holds most of what was asked for, the rare before the common, and the next
  // ones while they are short
  const excerpt = ({ text, terms }) => {
    const sentences = text.split(/(?<=[.?!]) (?=\p{Lu})|\n/u);
    const counts = sentences.map((sentence) => [...new Set(words(sentence).flatMap(pieces).map(core))]
      .reduce((sum, term) => sum + (terms.get(term) ?? 0), 0));
    let at = counts.indexOf(Math.max(...counts));
    let said = sentences[at];
    while (said.length < 100 && /[.?!:]$/.test(said) && sentences[at + 1]) said += ` ${sentences[at += 1]}`;
    return said.length > 240 ? `${said.slice(0, said.lastIndexOf(" ", 240))} …` : said;
  };
  const marked = (text, terms) => text.split(/([\p{L}\p{N}_]+)/u).map((piece) => {
    if (!pieces(piece).some((word) => terms.has(core(word)))) return piece;
    return Object.assign(document.createElement("b"), { textContent: piece });
  });

  const make = (tag, ...inside) => {
    const made = document.createElement(tag);
    made.append(...inside);
    return made;
  };
  const show = (found) => {
    const link = make("a", ...(found.page ? [make("span", found.page), " › "] : []),
      found.title || found.page);
    link.href = new URL(found.path + (found.anchor && `#${found.anchor}`), root);
    return make("li", link, make("p", ...marked(excerpt(found), found.terms)));
  };

  document.querySelectorAll("form.bd-search").forEach((form) => {
    const field = form.elements.q;
    const box = form.nextElementSibling;
    const [said, list] = box.children;
    const dialog = form.closest("dialog");
    const update = () => {
      const query = field.value.trim();
      const found = query ? search(query) : [];
      list.replaceChildren(...found.map(show));
      said.textContent = !query ? "" : !found.length
        ? `Nothing is found for “${query}”. Try another word for it.`
        : `${found.length} ${found.length === 1 ? "place" : "places, the best first"}`;
      if (!dialog && location.protocol !== "file:") {
        history.replaceState(null, "", query ? `?${new URLSearchParams({ q: query })}` : location.pathname);
      }
    };
    const step = (event) => {
      const ways = { ArrowDown: 1, ArrowUp: -1 };
      if (!(event.key in ways)) return;
      const stops = [field, ...list.querySelectorAll("a")];
      const next = stops[stops.indexOf(document.activeElement) + ways[event.key]];
      if (next) next.focus();
      event.preventDefault();
    };
    field.addEventListener("input", update);
    form.addEventListener("keydown", step);
    box.addEventListener("keydown", step);
    list.addEventListener("click", (event) => event.target.closest("a") && dialog?.close());
    if (!dialog) field.value ||= new URLSearchParams(location.search).get("q") ?? "";
    if (field.value) update();
  });
};
