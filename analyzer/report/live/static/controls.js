// The form: what may be changed, what it is now, and what differs from the report.

const SETTING_WORDS = {
  weight_reads: "Weights are read", bias_reads: "Biases are read", input_reads: "Inputs are read", output_writes: "Outputs are written",
  state: "State moves", addressing: "Addresses", neurons: "Neurons compute", multiplies: "Dense work is",
  weight_bits: "Bits of a weight", activation_bits: "Bits of an activation", spike_bits: "Bits of a spike", state_bits: "Bits of state",
  weight_level: "Weights are in", activation_level: "Activations are in", spike_level: "Spikes are in", state_level: "State is in", hops: "Hops of each activation", bit_density: "Share of bits that are set",
};

/** What the address of the page holds: only what differs. */
function toFragment(state, view) {
  const own = defaults(DATA);
  const parts = new URLSearchParams();
  for (const key of ["technology", "precision", "convention", "memory", "baseline"]) {
    if (state[key] !== own[key]) parts.set(key, state[key]);
  }
  for (const key of ["ac", "mac"]) if (state[key] !== null) parts.set(key, String(state[key]));
  if (state.activity !== 1) parts.set("activity", String(state.activity));
  for (const [key, value] of Object.entries(state.settings)) parts.set(`set.${key}`, String(value));
  for (const [key, value] of Object.entries(state.levels)) parts.set(`pj.${key}`, String(value));
  for (const [key, value] of Object.entries(view)) if (value !== VIEW[key] && value !== null) parts.set(key, String(value));
  return parts.toString();
}

/** A state from an address; what is not known here is left as the report has it. */
function fromFragment(text) {
  const state = defaults(DATA);
  const view = { ...VIEW };
  const parts = new URLSearchParams(text.replace(/^#/, ""));
  const number = (value) => (value.trim() !== "" && Number.isFinite(Number(value)) && Number(value) >= 0 ? Number(value) : null);
  const specs = { technology: DATA.technologies, convention: DATA.conventions, memory: [{ spec: "" }, ...DATA.memories] };
  for (const [key, entries] of Object.entries(specs)) {
    if (parts.has(key) && bySpec(entries, parts.get(key))) state[key] = parts.get(key);
  }
  state.precision = precisionOf(bySpec(DATA.technologies, state.technology), parts.get("precision") ?? state.precision);
  if (DATA.models.some((model) => model.name === parts.get("baseline"))) state.baseline = parts.get("baseline");
  for (const key of ["ac", "mac"]) if (parts.has(key)) state[key] = number(parts.get(key));
  if (parts.has("activity")) state.activity = Math.min(Math.max(number(parts.get("activity")) ?? 1, 0), 4);
  const memory = bySpec(DATA.memories, state.memory);
  const tech = bySpec(DATA.technologies, state.technology);
  for (const [key, value] of parts) {
    const name = key.slice(key.indexOf(".") + 1);
    if (key.startsWith("set.") && memory && name in memory.settings) {
      const known = memory.choices[name];
      if (known ? known.includes(value) : name.endsWith("_level") ? value in memory.levels || value in tech.memories || value === memory.settings[name] || (value === "" && name === "spike_level") : number(value) !== null) {
        state.settings[name] = typeof memory.settings[name] === "number" ? number(value) : value;
      }
    }
    if (key.startsWith("pj.") && memory && (name in memory.levels || name in tech.memories) && number(value) !== null) state.levels[name] = number(value);
  }
  if (DATA.models.some((model) => model.name === parts.get("model"))) view.model = parts.get("model");
  if (DATA.models.some((model) => model.name === parts.get("dense"))) view.dense = parts.get("dense");
  if (bySpec(DATA.conventions, parts.get("against"))) view.against = parts.get("against");
  for (const key of ["only", "steps"]) if (parts.has(key)) view[key] = parts.get(key);
  if (["stages", "layers", "operations"].includes(parts.get("level"))) view.level = parts.get("level");
  return { state, view };
}

/** Everything that differs from the report, in words. */
function differencesOf(state) {
  const own = defaults(DATA);
  const found = [];
  const title = (entries, spec) => (spec ? bySpec(entries, spec).name : "arithmetic alone");
  const add = (key, what, now, was) => found.push({ key, what, now, was });
  if (state.technology !== own.technology) add("technology", "technology", title(DATA.technologies, state.technology), title(DATA.technologies, own.technology));
  if (state.precision !== own.precision) add("precision", "precision", state.precision, own.precision);
  if (state.convention !== own.convention) add("convention", "convention", title(DATA.conventions, state.convention), title(DATA.conventions, own.convention));
  if (state.memory !== own.memory) add("memory", "memory", title(DATA.memories, state.memory), title(DATA.memories, own.memory));
  if (state.baseline !== own.baseline) add("baseline", "baseline", state.baseline, own.baseline);
  if (state.ac !== null) add("ac", "pJ per AC", general(state.ac), "that of the technology");
  if (state.mac !== null) add("mac", "pJ per MAC", general(state.mac), "that of the technology");
  if (state.activity !== 1) add("activity", "spike activity", `${general(state.activity)}×`, "1×");
  const memory = bySpec(DATA.memories, state.memory);
  for (const [key, value] of Object.entries(state.settings)) {
    add(`set.${key}`, (SETTING_WORDS[key] || key).toLowerCase(), String(value), String(memory.settings[key]));
  }
  for (const [key, value] of Object.entries(state.levels)) {
    add(`pj.${key}`, `pJ per bit of ${key}`, general(value), "that of the model");
  }
  return found;
}

class Controls {
  constructor(change) {
    this.change = change;
    this.form = $("controls");
    this.form.addEventListener("submit", (event) => event.preventDefault());
    // Controls stay while what they change does not, so what to do is looked up when one is used.
    this.actions = new Map();
    for (const type of ["input", "change"]) {
      this.form.addEventListener(type, ({ target }) => this.actions.get(`${type} ${target.id}`)?.(target));
    }
  }

  /** Makes the form that of a state. Controls that it had stay where they are, with focus and caret. */
  draw(state, view, results) {
    this.differs = new Set(differencesOf(state).map((each) => each.key));
    this.actions.clear();
    const groups = [this.pricing(state), this.prices(state, results), this.moves(state), this.doubt(state, view), this.choice(state, view)];
    become($("fields"), h("div", { id: "fields" }, groups.filter(Boolean)));
  }

  /** A control that does something at an event of that type: once when it is `change`d, or with each `input`. */
  control(key, tag, attributes, type, act, ...children) {
    const made = h(tag, { ...attributes, id: `c-${key}` }, ...children);
    this.actions.set(`${type} ${made.id}`, act);
    return made;
  }

  field(key, label, control, note = null) {
    return h("div", { class: this.differs.has(key) ? "field differs" : "field", "data-part": key },
      h("label", { for: control.id }, label), control, note ? h("p", { class: "note" }, note) : null);
  }

  menu(key, label, options, value, changed, note = null) {
    const select = this.control(key, "select", {}, "change", (target) => this.change(changed(target.value)),
      options.map(([option, text]) => h("option", { value: option, selected: option === value }, text)));
    return this.field(key, label, select, note);
  }

  number(key, label, value, changed, { own = null, note = null, disabled = false, max = null } = {}) {
    const attributes = { type: "number", min: "0", max, step: "any", inputmode: "decimal", disabled, value: disabled ? "" : general(value, 12) };
    const input = this.control(key, "input", attributes, "change", (target) => {
      const text = target.value.trim();
      const wanted = Number(text);
      if (text === "") this.change(changed(null));
      else if (!Number.isFinite(wanted) || wanted < 0 || (max !== null && wanted > max)) {
        announce(`${label} is a number from 0${max === null ? "" : ` to ${max}`}.`);
        target.value = String(value);
      } else this.change(changed(wanted === own ? null : wanted));
    });
    return this.field(key, label, input, note);
  }

  group(title, ...fields) {
    return h("fieldset", { "data-part": title }, h("legend", {}, title), fields.filter(Boolean));
  }

  pricing(state) {
    const tech = bySpec(DATA.technologies, state.technology);
    const named = (entries) => entries.map((each) => [each.spec, each.name === each.title ? each.name : `${each.name}: ${each.title}`]);
    return this.group("Priced as",
      this.menu("technology", "Technology", named(DATA.technologies), state.technology,
        (technology) => ({ technology, precision: precisionOf(bySpec(DATA.technologies, technology), state.precision), ac: null, mac: null, levels: {} })),
      this.menu("precision", "Precision", Object.keys(tech.precisions).map((p) => [p, p === "any" ? "any, one price" : p]), state.precision,
        (precision) => ({ precision, ac: null, mac: null })),
      this.menu("convention", "Convention", named(DATA.conventions), state.convention, (convention) => ({ convention })));
  }

  prices(state, results) {
    const good = results.find((r) => !r.error);
    const tech = bySpec(DATA.technologies, state.technology);
    const cost = good ? good.prices.cost : null;
    const serial = good?.prices.serial;
    if (!cost) return null;
    return this.group("Price of one operation, pJ",
      this.number("ac", "Accumulate (AC)", state.ac ?? cost.ac, (ac) => ({ ac }), { own: cost.ac }),
      this.number("mac", "Multiply-accumulate (MAC)", serial ? good.prices.mac[0] : state.mac ?? Math.max(...cost.mac), (mac) => ({ mac }),
        { own: Math.min(...cost.mac) === Math.max(...cost.mac) ? cost.mac[0] : null, disabled: !tech.multiplies || serial,
          note: !tech.multiplies ? `${tech.name} has none: what needs one is not priced.` : null }));
  }

  moves(state) {
    const memory = bySpec(DATA.memories, state.memory);
    const tech = bySpec(DATA.technologies, state.technology);
    const options = [["", "none: arithmetic alone"], ...DATA.memories.map((each) => [each.spec, `${each.name}: ${each.title}`])];
    const fields = [this.menu("memory", "Memory model", options, state.memory, (name) => ({ memory: name, settings: {}, levels: {} }))];
    if (!memory) return this.group("What moves", ...fields);
    const settings = { ...memory.settings, ...state.settings };
    const set = (key) => (value) => {
      const changed = { ...state.settings };
      if (value === null || value === memory.settings[key]) delete changed[key];
      else changed[key] = value;
      return { settings: changed };
    };
    const levels = [...new Set([...Object.keys(memory.levels), ...Object.keys(tech.memories)])];
    const used = new Set();
    const charges = { weight: settings.weight_reads !== "none" || settings.bias_reads !== "none",
      activation: settings.input_reads !== "none" || settings.output_writes !== "none", state: settings.state !== "none" };
    for (const [part, on] of Object.entries(charges)) if (on) used.add(settings[`${part}_level`]);
    if (charges.activation && settings.spike_bits && settings.spike_level) used.add(settings.spike_level);
    for (const level of used) {
      const own = level in memory.levels ? memory.levels[level] : tech.memories[level];
      if (own === undefined) continue;
      const sized = own === null;
      fields.push(this.number(`pj.${level}`, sized ? `Price of ${level}, × its table by size` : `pJ per bit of ${level}`, state.levels[level] ?? own ?? 1, (value) => {
        const changed = { ...state.levels };
        if (value === null) delete changed[level]; else changed[level] = value;
        return { levels: changed };
      }, { own: own ?? 1 }));
    }
    const more = [];
    for (const [key, choices] of Object.entries(memory.choices)) {
      more.push(this.menu(`set.${key}`, SETTING_WORDS[key] || key, choices.map((c) => [c, DATA.often[c] && key === "weight_reads" ? DATA.often[c] : c]), settings[key], set(key)));
    }
    const spikesIn = settings.spike_level || settings.activation_level;
    for (const key of ["weight_bits", "activation_bits", "spike_bits", "state_bits"]) {
      const level = key === "spike_bits" ? spikesIn : settings[key.replace("_bits", "_level")];
      const widths = memory.widths[key];
      const sized = memory.levels[level] === null;
      more.push(sized
        ? this.menu(`set.${key}`, SETTING_WORDS[key], widths.map((w) => [String(w), String(w)]), String(settings[key]), (v) => set(key)(Number(v)))
        : this.number(`set.${key}`, SETTING_WORDS[key], settings[key], set(key), { own: memory.settings[key] }));
    }
    for (const key of ["weight_level", "activation_level", "spike_level", "state_level"]) {
      const first = key === "spike_level" ? ["", settings[key]] : [settings[key]];
      const choices = [...new Set([...first, ...levels])].map((l) => [l, l || "the level of activations"]);
      more.push(this.menu(`set.${key}`, SETTING_WORDS[key], choices, settings[key], set(key)));
    }
    if (charges.activation) more.push(this.number("set.hops", SETTING_WORDS.hops, settings.hops, set("hops"), { own: memory.settings.hops }));
    if (settings.multiplies === "bit-serial") more.push(this.number("set.bit_density", SETTING_WORDS.bit_density, settings.bit_density, set("bit_density"), { own: memory.settings.bit_density, max: 1 }));
    const box = h("details", { class: "more", open: this.settingsOpen || Object.keys(state.settings).length > 0,
      ontoggle: (event) => { this.settingsOpen = event.target.open; } }, h("summary", {}, "Settings of the memory model"), more);
    return this.group("What moves", ...fields, box);
  }

  doubt(state, view) {
    const slider = this.control("slider", "input", { type: "range", min: "-2", max: "2", step: "0.05", value: String(Math.log2(Math.max(state.activity, 0.25))), "aria-label": "Spike activity, from a quarter to four times",
      "aria-valuetext": `${general(state.activity)} times` },
    "input", (target) => this.change({ activity: Number(exponential(2 ** Number(target.value), 4)) }));
    const steps = [...new Set(DATA.models.map((m) => m.facts.timesteps).filter((t) => t !== null))].sort((a, b) => a - b);
    return this.group("What if",
      this.number("activity", "Spike activity, ×", state.activity, (activity) => ({ activity: activity ?? 1 }), { own: 1, max: 4 }), slider,
      h("p", { class: "note" }, "Multiplies how many spikes the layers read; accumulates and memory reads that spikes cause grow with it."),
      steps.length > 1 ? this.menu("steps", "Timesteps", [["", "all models"], ...steps.map((t) => [String(t), `T = ${t}, and models without neurons`])], view.steps, (value) => ({ view: { steps: value } })) : null);
  }

  choice(state, view) {
    const names = DATA.models.map((m) => [m.name, m.name]);
    const find = this.control("only", "input", { type: "search", value: view.only, placeholder: "part of a name" },
      "input", (target) => this.change({ view: { only: target.value } }));
    return this.group("Which models",
      this.menu("baseline", "Baseline of ratios", names, state.baseline, (baseline) => ({ baseline })),
      DATA.models.length > 3 ? this.field("only", "Only names with", find) : null);
  }
}
