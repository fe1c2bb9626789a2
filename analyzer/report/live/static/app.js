// Puts the page together: one state, one evaluation, and every view drawn from it.

const VIEW = { model: null, dense: null, against: null, only: "", steps: "", level: null };
/** What a narrow table leaves out, in this order. */
const SELDOM = ["samples", "spikes_per_synapse", "energy_delay", "latency_ms", "parameters_bytes", "parameters", "mac_share", "dense_macs", "sparsity", "compute", "neurons_pj", "addressing_pj", "state_pj", "activations_pj", "weights_pj"];
let DATA = null;

class FigureView {
  constructor(host, key, title) {
    this.key = key;
    this.plot = h("div", { class: "plot", role: "img" });
    this.caption = h("figcaption");
    this.title = title;
    this.numbers = h("details", { class: "numbers", ontoggle: () => this.drawNumbers() }, h("summary", {}, "Numbers"));
    this.tools = h("div", { class: "tools", role: "group", "aria-label": `Save ${title}` },
      h("button", { type: "button", onclick: () => download(new Blob([this.svg()], { type: "image/svg+xml" }), `${key}.svg`) }, "SVG"),
      h("button", { type: "button", onclick: () => this.png() }, "PNG"));
    this.figure = h("figure", { id: `figure-${key}` }, this.plot, this.caption, h("div", { class: "below" }, this.numbers, this.tools));
    host.append(this.figure);
    this.near = true;
    new IntersectionObserver(([entry]) => {
      this.near = entry.isIntersecting;
      if (this.near) this.draw();
    }, { rootMargin: "300px" }).observe(this.figure);
  }

  /** Takes new numbers. What is out of sight is drawn as soon as the browser has time for it. */
  update(spec, nothing = "") {
    this.spec = spec;
    this.stale = Boolean(spec);
    this.figure.hidden = !spec && !nothing;
    this.tools.hidden = this.numbers.hidden = !spec;
    if (!spec) {
      this.plot.replaceChildren();
      this.plot.removeAttribute("role");
      this.plot.removeAttribute("aria-label");
      this.caption.textContent = nothing;
      return;
    }
    this.plot.setAttribute("role", "img");
    this.plot.setAttribute("aria-label", spec.alt);
    this.caption.replaceChildren(h("b", {}, `${this.title}. `), spec.caption);
    if (this.near) this.draw();
    this.drawNumbers();
  }

  /** Draws what is not drawn yet. */
  draw() {
    if (this.stale) this.drawAt();
  }

  drawAt(width = Math.min(this.figure.clientWidth || 640, 920)) {
    if (!this.spec) return;
    const drawn = this.spec.draw(Math.max(width, 260));
    // The place is the picture, with one text for all of it.
    drawn.setAttribute("aria-hidden", "true");
    for (const part of drawn.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");
    this.plot.replaceChildren(drawn);
    this.stale = false;
  }

  drawNumbers() {
    const { spec, numbers } = this;
    numbers.querySelector(".scroll")?.remove();
    if (!spec || !numbers.open) return;
    const cell = (value, i) => {
      const [text, number] = Array.isArray(value) ? value : [value];
      const made = i === 0 ? h("th", { scope: "row" }, text) : h("td", { class: number === undefined ? null : "n" }, text);
      if (typeof number === "number") made.dataset.value = String(number);
      return made;
    };
    numbers.append(h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `Numbers of ${this.title}` }, h("table", { class: "data" },
      h("caption", { class: "away" }, `Numbers of ${this.title}`),
      h("thead", {}, h("tr", {}, spec.table.head.map((head, i) => h("th", { scope: "col", class: i && Array.isArray(spec.table.rows[0]?.[i]) ? "n" : null }, head || "Name")))),
      h("tbody", {}, spec.table.rows.map((row) => h("tr", {}, row.map(cell)))))));
  }

  /** The drawing alone, with its own font and colours, on white. */
  svg() {
    const copy = this.spec.draw(760);
    const ink = "#1d1f21";
    copy.setAttribute("xmlns", SVG);
    copy.setAttribute("font-family", "system-ui, Helvetica, Arial, sans-serif");
    copy.setAttribute("color", ink);
    copy.prepend(s("title", {}, this.title), s("desc", {}, this.spec.alt), s("rect", { width: "100%", height: "100%", fill: "white" }));
    return new XMLSerializer().serializeToString(copy).replaceAll("currentColor", ink);
  }

  async png() {
    const image = new Image();
    const url = URL.createObjectURL(new Blob([this.svg()], { type: "image/svg+xml" }));
    await new Promise((done, failed) => { image.onload = done; image.onerror = failed; image.src = url; });
    const canvas = h("canvas", { width: image.width * 3, height: image.height * 3 });
    const context = canvas.getContext("2d");
    context.scale(3, 3);
    context.drawImage(image, 0, 0);
    URL.revokeObjectURL(url);
    canvas.toBlob((blob) => download(blob, `${this.key}.png`), "image/png");
  }
}

class Page {
  constructor() {
    this.models = DATA.models.map((facts, i) => new Model(facts, i));
    this.own = evaluate(DATA, this.models, defaults(DATA));
    this.ownByName = new Map(this.own.map((r) => [r.name, r]));
    VIEW.model = this.models[Math.max(this.models.findIndex((m) => Object.keys(m.facts.steps).length), 0)].facts.name;
    VIEW.against = (DATA.conventions.find((c) => c.name === "spikformer" && c.spec !== DATA.report.convention) || DATA.conventions.find((c) => c.spec !== DATA.report.convention)).spec;
    VIEW.dense = (this.own.find((r) => !r.error && Number.isNaN(r.rate)) || this.own[0]).name;
    this.times = [];
    this.controls = new Controls((changed) => this.set(changed));
    this.build();
    this.read();
    addEventListener("hashchange", () => { if (location.hash.slice(1) !== this.fragment) this.read(); });
    let waiting = 0;
    let width = innerWidth;
    addEventListener("resize", () => {
      if (innerWidth === width) return;
      width = innerWidth;
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(() => {
        this.figures.forEach((figure) => figure.drawAt());
        [this.comparison, this.layers].forEach((table) => table.draw());
      });
    });
    addEventListener("beforeprint", () => this.print(true));
    addEventListener("afterprint", () => this.print(false));
  }

  build() {
    this.comparison = new DataTable($("comparison-table"), { id: "comparison", caption: "", columns: comparisonColumns((name) => (this.changed ? this.ownByName.get(name) : undefined)),
      seldom: SELDOM, hidden: ["energy_per_correct"], search: this.models.length > 5 });
    this.layers = new DataTable($("layers-table"), { id: "layers", caption: "", columns: layerColumns(), details: detailsOf, folded: true,
      seldom: ["events", "input", "dense", "addressing_pj", "state_pj", "activations_pj", "weights_pj", "neurons_pj"], hidden: ["ac_pj", "mac_pj", "why"] });
    const figure = (host, key, title) => new FigureView($(host), key, title);
    this.figures = [
      this.energy = figure("energy-figure", "energy", "Energy per model"),
      this.layersFigure = figure("layers-figure", "layers", "Energy per layer"),
      this.pareto = figure("tradeoff-figures", "pareto", "Accuracy and energy"),
      this.steps = figure("tradeoff-figures", "timesteps", "Energy against timesteps"),
      this.even = figure("decides-figures", "break-even", "Break-even rate"),
      this.fall = figure("decides-figures", "waterfall", "Two conventions"),
      this.storm = figure("decides-figures", "tornado", "What decides"),
      this.rates = figure("activity-figures", "rates", "Firing rate per layer and timestep"),
    ];
    const groups = groupRows(this.models);
    $("groups").hidden = !groups.length;
    if (groups.length) {
      this.groups = new DataTable($("groups-table"), { id: "groups-data", caption: "Share of non-zeros among what layers read, by group, over all layers that declare groups.", columns: [
        { key: "model", head: "Model", words: true, text: (r) => r.model, value: (r) => r.model },
        { key: "axis", head: "Axis", words: true, text: (r) => r.axis, value: (r) => r.axis },
        ...Array.from({ length: Math.max(...groups.map((r) => r.rates.length)) }, (_, i) => ({
          key: `group${i + 1}`, head: `Group ${i + 1}`, text: (r) => share(r.rates[i]), value: (r) => r.rates[i] ?? NaN })),
      ], search: this.models.length > 1 });
      this.groupData = groups;
    }
    for (const [id, key] of [["pick-model", "model"], ["pick-against", "against"], ["pick-level", "level"], ["pick-dense", "dense"]]) {
      $(id).addEventListener("change", (event) => this.set({ view: { [key]: event.target.value } }));
    }
    const options = (id, entries) => $(id).replaceChildren(...entries.map(([value, text]) => h("option", { value }, text)));
    options("pick-model", this.models.map((m) => [m.facts.name, m.facts.name]));
    options("pick-dense", this.models.map((m) => [m.facts.name, m.facts.name]));
    options("pick-against", DATA.conventions.map((c) => [c.spec, c.name]));
    options("pick-level", [["stages", "stages"], ["layers", "layers"], ["operations", "operations"]]);
    for (const id of ["reset", "reset-2"]) $(id).addEventListener("click", () => { this.reset(); });
    $("link").addEventListener("click", () => copyText(location.href, "Link"));
    $("theme").addEventListener("click", () => this.theme());
    $("open-controls").addEventListener("click", () => this.sheet(true));
    $("close-controls").addEventListener("click", () => this.sheet(false));
    addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      if ($("panel").classList.contains("open")) this.sheet(false);
      document.querySelectorAll("details.menu[open]").forEach((menu) => { menu.open = false; menu.querySelector("summary").focus(); });
    });
    document.addEventListener("click", (event) => {
      document.querySelectorAll("details.menu[open]").forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; });
    });
    this.labelTheme();
  }

  sheet(open) {
    $("panel").classList.toggle("open", open);
    $("open-controls").setAttribute("aria-expanded", String(open));
    if (open) $("close-controls").focus(); else $("open-controls").focus();
  }

  theme() {
    const root = document.documentElement;
    const dark = this.isDark();
    root.dataset.theme = dark ? "light" : "dark";
    this.labelTheme();
  }

  isDark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  labelTheme() {
    $("theme").textContent = this.isDark() ? "Light" : "Dark";
  }

  read() {
    const found = fromFragment(location.hash);
    this.state = found.state;
    this.view = found.view;
    this.draw();
  }

  reset() {
    this.state = defaults(DATA);
    this.view = { ...VIEW };
    this.draw();
    announce("The figures are those of the report again.");
  }

  /** Changes part of the state, or of what is looked at. */
  set({ view = {}, ...changed }) {
    this.state = { ...this.state, ...changed };
    this.view = { ...this.view, ...view };
    this.draw();
  }

  selected(results) {
    const good = (r) => !this.view.only || r.name.toLowerCase().includes(this.view.only.toLowerCase());
    const at = (r) => { const t = r.model.facts.facts.timesteps; return this.view.steps === "" || t === null || String(t) === this.view.steps || (t === 1 && r.rate !== r.rate); };
    return results.filter((r) => good(r) && at(r));
  }

  draw() {
    const start = performance.now();
    const { state, view } = this;
    this.fragment = toFragment(state, view);
    history.replaceState(null, "", this.fragment ? `#${this.fragment}` : location.pathname + location.search);
    const results = evaluate(DATA, this.models, state);
    this.results = results;
    const differences = differencesOf(state);
    this.changed = differences.length > 0;
    const shown = this.selected(results);
    const subject = results.find((r) => r.name === view.model) || results[0];
    const base = results.find((r) => r.name === state.baseline);
    const level = view.level || (subject.error || subject.rows <= 42 ? "operations" : "stages");
    this.controls.draw(state, view, results);
    $("summary").textContent = summaryOf(shown, state);
    this.drawDifferences(differences);
    this.drawComparison(shown, base);
    this.energy.update(energyFigure(shown, base.name));
    $("pick-model").value = subject.name;
    $("pick-against").value = view.against;
    $("pick-dense").value = view.dense;
    $("pick-level").value = level;
    this.drawLayers(subject, level);
    this.pareto.update(paretoFigure(shown));
    this.steps.update(stepsFigure(shown));
    $("tradeoffs").hidden = this.pareto.figure.hidden && this.steps.figure.hidden;
    const dense = results.find((r) => r.name === view.dense) || results[0];
    this.even.update(breakEvenFigure(breakEven(DATA, state, subject, dense)), subject === dense
      ? "For a break-even rate choose a spiking model above, and another one to compare it with."
      : `There is no break-even of ${subject.name} with ${dense.name}: no spikes drive it here, or an energy is only a lower bound.`);
    const nameOf = (spec) => bySpec(DATA.conventions, spec).name;
    this.fall.update(subject.error ? null : waterfallFigure(waterfall(DATA, state, subject.model, view.against), nameOf(state.convention), nameOf(view.against)));
    this.storm.update(tornadoFigure(tornado(DATA, state, subject.model)));
    if (this.rates.of !== subject.name) this.rates.update(ratesFigure(subject.model), `${subject.name} holds no activity per timestep, so no firing rates over time are drawn.`);
    this.rates.of = subject.name;
    if (this.groups) this.groups.update(this.groupData.filter((row) => shown.some((r) => r.name === row.model)));
    this.drawReading(results, state);
    this.drawRemarks(shown, state);
    document.querySelectorAll(".subject").forEach((place) => { place.textContent = subject.name; });
    this.times.push(performance.now() - start);
    this.later();
  }

  drawDifferences(differences) {
    $("changed").hidden = !differences.length;
    $("changes").replaceChildren(...differences.map(({ what, now, was }) => h("li", {}, `${what}: `, h("b", {}, now), ` instead of ${was}`)));
    $("panel-count").textContent = differences.length ? ` (${differences.length})` : "";
  }

  drawComparison(shown, base) {
    const any = (test) => shown.some((r) => !r.error && test(r));
    const memory = Boolean(this.state.memory);
    const empty = [];
    if (!memory) empty.push("compute");
    for (const key of Object.keys(DATA.components).slice(2)) if (!any((r) => r.sums[key])) empty.push(key);
    if (!any((r) => r.model.facts.facts.latency_ms !== null)) empty.push("latency_ms", "energy_delay");
    if (!any((r) => r.model.facts.facts.accuracy !== null)) empty.push("accuracy", "energy_per_correct");
    const caption = `Work and energy of one inference, mean over the samples. T: timesteps. Ratio: energy against ${base.name}. MAC share: part of the energy. Sparsity: share of zeros among the activations that counted operations read. Spikes/synapse: accumulates per connection of driven layers and inference. Weights: size in memory.`;
    this.comparison.update(shown.map((r) => ({ ...r, id: `m${r.model.index}`, model: r.model })), { caption, empty });
  }

  drawLayers(subject, level) {
    const failed = Boolean(subject.error);
    $("layers-error").hidden = !failed;
    $("layers-error").textContent = failed ? subject.error : "";
    $("layers-table").hidden = failed;
    this.layersFigure.update(layersFigure(subject, level));
    if (failed) return;
    const empty = Object.keys(DATA.components).slice(2).filter((key) => !subject.sums[key]);
    if (this.layers.of !== subject.name) {
      this.layers.of = subject.name;
      this.layers.opened.clear();
      this.layers.state.expanded = subject.rows <= 25 ? true : {};
    }
    this.layers.update(treeRows(subject), { empty,
      caption: `${subject.name}: work and energy per sample, stage by stage in order of execution. Open a row for what is below it, an operation for all that is known of it.` });
  }

  drawReading(results, state) {
    const convention = bySpec(DATA.conventions, state.convention);
    const tech = bySpec(DATA.technologies, state.technology);
    const memory = bySpec(DATA.memories, state.memory);
    const good = results.find((r) => !r.error);
    const part = (kind, thing, ...text) => h("p", {}, h("b", {}, `${kind} “${thing.name}” (${thing.title}). `), ...text, " ",
      h("span", { class: "note" }, `Source: ${thing.source}. Confidence ${thing.confidence}.`));
    const found = [part("Convention", convention, convention.summary),
      part("Technology", tech, `${tech.includes ? `It includes ${tech.includes}. ` : ""}The energy of a row is AC × price of an AC + MAC × price of a MAC${memory ? ", and what the memory model adds" : ""}. A dash (–) means unknown or not measured, never zero.`)];
    if (memory) found.push(part("Memory model", memory, `${memory.summary} Here: ${settingsInWords({ ...memory.settings, ...state.settings })}.`));
    $("reading-text").replaceChildren(...found);
    const rows = good ? constantsOf(good).map(([name, value]) => [name, good.prices.cost.precision, value, "pJ", value, value, true]) : [];
    const all = [...rows, ...tech.figures.map((f) => [...f, false]), ...(memory ? memory.figures.map((f) => [...f, false]) : [])];
    const cell = (value) => { const made = h("td", { class: "n" }, general(value)); made.dataset.value = String(value); return made; };
    $("constants").replaceChildren(...all.map(([name, key, value, unit, low, high, used]) => h("tr", { class: used ? "used" : null },
      h("th", { scope: "row" }, name), h("td", {}, key), cell(value), h("td", { class: "n" }, low === high ? "" : `${general(low)} to ${general(high)}`), h("td", {}, unit))));
  }

  drawRemarks(shown, state) {
    const remarks = remarksOf(shown, state);
    $("remarks").hidden = $("remark-link").hidden = $("remarks-nav").hidden = !remarks.length;
    $("remark-link").textContent = remarks.length ? `${plural(remarks.length, "remark")} ${remarks.length === 1 ? "limits" : "limit"} these figures.` : "";
    $("remark-list").replaceChildren(...remarks.map(({ text, names }) => {
      const said = text[0].toUpperCase() + text.slice(1);
      if (!names.length) return h("li", {}, said);
      if (names.length <= 3) return h("li", {}, h("b", {}, `${names.join(", ")}: `), text);
      return h("li", {}, said, h("details", {}, h("summary", {}, `${names.length} of ${shown.length} models`), names.join(", ")));
    }));
  }

  /** The remarks, for tests. */
  remarks() {
    return remarksOf(this.selected(this.results), this.state).map(({ text, names }) => [text, names]);
  }

  /** Numbers as the page writes them, for tests. */
  written(values) {
    return values.map((x) => [si(x), energy(x), ratio(x), share(x), bytes(x), general(x, 3), general(x)]);
  }

  /** Opens all that is folded for paper, draws to its width, and puts things back. */
  print(on) {
    if (on) {
      this.folded = [...document.querySelectorAll("main details:not([open])")];
      this.before = this.layers.state.expanded;
      this.layers.state.expanded = true;
      this.layers.draw();
      this.folded.filter((each) => !each.classList.contains("menu")).forEach((each) => { each.open = true; });
      this.figures.forEach((figure) => { figure.drawNumbers(); figure.drawAt(660); });
    } else if (this.folded) {
      this.folded.forEach((each) => { each.open = false; });
      this.layers.state.expanded = this.before;
      this.layers.draw();
      this.figures.forEach((figure) => figure.drawAt());
    }
  }

  /** Draws the figures that are out of sight, one at a time. */
  later() {
    const soon = window.requestIdleCallback || ((done) => setTimeout(done, 30));
    (window.cancelIdleCallback || clearTimeout)(this.idle);
    const next = this.figures.find((figure) => figure.stale);
    document.documentElement.dataset.settled = next ? "" : String(this.times.length);
    if (next) this.idle = soon(() => { next.draw(); this.later(); }, { timeout: 1000 });
  }
}

async function start() {
  const packed = $("data").textContent.trim();
  const compressed = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("gzip"));
  DATA = JSON.parse(await new Response(stream).text());
  document.documentElement.classList.add("live");
  window.analyzerReport = new Page();
}

start().catch((error) => {
  document.documentElement.classList.remove("live");
  const place = $("failed");
  place.hidden = false;
  place.textContent = `This page could not compute its figures (${error.message}). The tables and figures are also in the folders beside it.`;
  throw error;
});
