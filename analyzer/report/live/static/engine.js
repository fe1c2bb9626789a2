// Prices embedded counts: multiplies and adds. Which counts and prices there are, Python decided.

/** What a report was priced as, with nothing changed. */
function defaults(data) {
  const own = data.report;
  return {
    technology: own.technology,
    precision: own.precision,
    convention: own.convention,
    memory: own.memory,
    settings: {},
    levels: {},
    ac: null,
    mac: null,
    activity: 1,
    baseline: data.models[0].name,
  };
}

const bySpec = (entries, spec) => entries.find((entry) => entry.spec === spec);

/** The precisions that a technology has, and the one that a state means. */
function precisionOf(tech, precision) {
  return precision in tech.precisions ? precision : Object.keys(tech.precisions)[0];
}

class Model {
  constructor(facts, index) {
    this.index = index;
    this.facts = facts;
    this.number = facts.rows.module.length;
    this.columns = [];
    this.products = facts.rows.product.filter(Boolean).length;
  }

  column(at) {
    if (at < 0) return null;
    if (!this.columns[at]) {
      this.columns[at] = Float64Array.from(this.facts.columns[at], (x) => (x === null ? NaN : x));
    }
    return this.columns[at];
  }

  /** A fact of each row, over all samples. */
  fact(name) {
    return this.column(this.facts.rows[name]) || new Float64Array(this.number);
  }

  /** A count of each row for one sample; null where it is zero throughout. */
  count(reading, name, activity) {
    const pair = reading.counts[name];
    if (pair === undefined) return null;
    if (pair === null) throw new Unpriced("facts", name);
    const still = this.column(pair[0]);
    const spikes = this.column(pair[1]);
    const found = new Float64Array(this.number);
    const { samples } = this.facts;
    for (let i = 0; i < found.length; i += 1) {
      found[i] = ((still ? still[i] : 0) + activity * (spikes ? spikes[i] : 0)) / samples;
    }
    return found;
  }
}

/** Why a model has no energy under a state. */
class Unpriced extends Error {
  constructor(kind, what) {
    super(kind);
    this.kind = kind;
    this.what = what;
  }
}

/** All that is multiplied with counts: prices of one model under a state. */
function pricesOf(data, state, model) {
  const tech = state.patchedTechnology || bySpec(data.technologies, state.technology);
  const precision = precisionOf(tech, state.precision);
  let cost = tech.precisions[precision];
  if (cost.by_format) {
    cost = cost.by_format[model.facts.dtype];
    if (!cost) throw new Unpriced("format", model.facts.dtype);
  }
  const memory = state.memory ? bySpec(data.memories, state.memory) : null;
  const settings = memory ? { ...memory.settings, ...state.settings } : null;
  const ac = state.ac ?? cost.ac;
  let mac = state.mac === null || !tech.multiplies ? cost.mac : cost.mac.map(() => state.mac);
  let multiply = cost.multiply;
  if (multiply !== null && (state.ac !== null || state.mac !== null)) {
    const one = state.mac ?? cost.mac[0];
    multiply = cost.multiply_is_mac ? one : one - ac;
  }
  const serial = memory !== null && settings.multiplies === "bit-serial";
  if (serial) mac = cost.mac.map(() => settings.activation_bits * settings.bit_density * ac);
  return { tech, cost, memory, settings, ac, mac, multiply, serial };
}

/** Picojoules of each row of a model, by component. */
function energiesOf(data, state, model) {
  const reading = model.facts.readings[state.convention];
  if (typeof reading === "string") throw new Unpriced("reading", reading);
  const prices = pricesOf(data, state, model);
  const { activity } = state;
  const zeros = () => new Float64Array(model.number);
  const ac = model.count(reading, "ac", activity) || zeros();
  const mac = model.count(reading, "mac", activity) || zeros();
  const parts = {};
  parts.ac_pj = ac.map((count) => count * prices.ac);
  parts.mac_pj = mac.map((count, i) => count * prices.mac[model.facts.rows.class[i]]);
  const { special } = bySpec(data.conventions, state.convention);
  if (special !== null) parts.elementwise_pj = elementwiseOf(model, reading, prices, special);
  if (prices.memory) movedBy(model, reading, prices, state, parts);
  let rows = prices.memory ? model.facts.charged : model.products;
  if (special !== null) rows = model.number;
  const total = zeros();
  for (const part of Object.values(parts)) {
    for (let i = 0; i < rows; i += 1) total[i] += part[i];
  }
  return { reading, prices, ac, mac, parts, rows, total };
}

/** Picojoules of work that is no product; of neurons only where the memory model charges none. */
function elementwiseOf(model, reading, prices, special) {
  const neurons = !prices.memory || prices.settings.neurons === "none";
  const count = (part) => {
    const others = model.count(reading, `elementwise.${part}`, 1) || new Float64Array(model.number);
    const own = neurons ? model.count(reading, `elementwise.neurons.${part}`, 1) : null;
    return own ? others.map((each, i) => each + own[i]) : others;
  };
  const [adds, multiplies, specials] = ["adds", "multiplies", "specials"].map(count);
  if (prices.multiply === null && (multiplies.some(Boolean) || specials.some(Boolean))) {
    throw new Unpriced("product", "element-wise work");
  }
  const multiply = prices.multiply ?? 0;
  prices.specials = special * multiply * specials.reduce((sum, each) => sum + each, 0);
  return adds.map((each, i) => each * prices.ac + (multiplies[i] + special * specials[i]) * multiply);
}

/** Adds what a memory model charges: accesses times bits times price, and arithmetic. */
function movedBy(model, reading, prices, state, parts) {
  const { memory, settings, tech } = prices;
  const count = (name) => model.count(reading, name, state.activity);
  const needsNeurons = settings.state !== "none" || settings.neurons !== "none";
  if (needsNeurons && !model.facts.neurons_known) throw new Unpriced("facts", "neurons");

  function accesses(names, bits, level, held) {
    const counts = names.map(count).filter(Boolean);
    if (!counts.length || !counts.some((column) => column.some(Boolean))) return null;
    const price = levelPrice(level);
    const factor = state.levels[level];
    const sized = price === null ? sizedPrice(level, held, bits) : null;
    const found = new Float64Array(model.number);
    for (let i = 0; i < found.length; i += 1) {
      let sum = 0;
      for (const column of counts) sum += column[i];
      if (sized) found[i] = sum * bits * sized[i] * (factor ?? 1);
      else found[i] = sum * bits * (factor ?? price);
    }
    return found;
  }

  function levelPrice(level) {
    if (level in memory.levels) return memory.levels[level];
    if (level in tech.memories) return tech.memories[level];
    throw new Unpriced("level", level);
  }

  function sizedPrice(level, held, bits) {
    const at = model.facts.sized[memory.spec][level][held][String(bits)];
    if (at === undefined) throw new Unpriced("width", bits);
    return model.column(at) || new Float64Array(model.number);
  }

  const rule = (setting, part) => {
    const value = settings[setting];
    return value === "none" ? [] : [`${setting}.${value}${part ? `.${part}` : ""}`];
  };
  const sum = (one, other) => {
    if (!one || !other) return one || other || new Float64Array(model.number);
    return one.map((value, i) => value + other[i]);
  };

  const arithmetic = (setting) => {
    const none = new Float64Array(model.number);
    const name = `${setting}.${settings[setting]}`;
    if (settings[setting] === "none") return none;
    if (settings[setting] === "dynamics" && tech.update !== null) {
      return (count(`${name}.updates`) || none).map((updates) => updates * tech.update);
    }
    const adds = count(`${name}.adds`) || none;
    const multiplies = count(`${name}.multiplies`) || none;
    const both = count(`${name}.multiply_adds`) || none;
    const charged = multiplies.some(Boolean) || both.some(Boolean);
    if (prices.multiply === null && charged) throw new Unpriced("multiply", setting);
    const multiply = prices.multiply ?? 0;
    return none.map(
      (_, i) =>
        adds[i] * prices.ac + multiplies[i] * multiply + both[i] * (prices.ac + multiply),
    );
  };

  parts.neurons_pj = arithmetic("neurons");
  parts.weights_pj = sum(
    accesses(
      [...rule("weight_reads"), ...rule("bias_reads")],
      settings.weight_bits,
      settings.weight_level,
      settings.bias_reads === "none" ? "weights" : `weights.${settings.bias_reads}`,
    ),
  );
  parts.activations_pj = sum(
    accesses(
      [...rule("input_reads", "spikes"), ...rule("output_writes", "spikes")],
      settings.spike_bits,
      settings.spike_level || settings.activation_level,
      "queue",
    ),
    accesses(
      [...rule("input_reads", "others"), ...rule("output_writes", "others")],
      settings.activation_bits,
      settings.activation_level,
      "activations",
    ),
  ).map((energy) => settings.hops * energy);
  parts.state_pj = sum(
    accesses(rule("state"), settings.state_bits, settings.state_level, "state"),
  );
  parts.addressing_pj = arithmetic("addressing");
}

function summed(values, rows = values.length) {
  let total = 0;
  for (let i = 0; i < rows; i += 1) total += values[i];
  return total;
}

/** The figures of one model under a state; an error in words where it has none. */
function priced(data, state, model) {
  let found;
  try {
    found = energiesOf(data, state, model);
  } catch (error) {
    if (!(error instanceof Unpriced)) throw error;
    return { model, name: model.facts.name, error: inWords(data, state, model, error) };
  }
  const { rows, parts, prices, reading } = found;
  const { facts } = model.facts;
  const sums = {};
  for (const [name, part] of Object.entries(parts)) sums[name] = summed(part, rows);
  const total = summed(found.total, rows);
  const macs = summed(found.mac, rows);
  const weights = model.fact("weight_elements");
  const dense = model.fact("dense_macs");
  let synapses = 0;
  let spikes = 0;
  let drivenDense = 0;
  let drivenAc = 0;
  for (let i = 0; i < rows; i += 1) {
    if (!reading.driven[i]) continue;
    drivenAc += found.ac[i];
    drivenDense += dense[i] / model.facts.samples;
    if (weights[i] > 0) {
      spikes += found.ac[i];
      synapses += dense[i] / model.facts.samples;
    }
  }
  synapses = facts.timesteps ? synapses / facts.timesteps : 0;
  const unpriced = prices.tech.multiplies || prices.serial ? 0 : macs;
  const anyDriven = reading.driven.some(Boolean);
  const charged = prices.memory && (prices.settings.state !== "none" || prices.settings.neurons !== "none");
  const unknown = charged && anyDriven ? model.facts.unknown_neurons : [];
  const hasNeurons = model.facts.charged > model.products;
  const stateless = Boolean(
    charged && anyDriven && prices.settings.state !== "none" && !hasNeurons && !unknown.length,
  );
  return {
    ...found,
    model,
    name: model.facts.name,
    sums,
    energy: total,
    acs: summed(found.ac, rows),
    macs,
    dense: summed(dense, rows) / model.facts.samples,
    macShare: total ? sums.mac_pj / total : NaN,
    perSynapse: synapses ? spikes / synapses : NaN,
    rate: drivenDense ? drivenAc / drivenDense : NaN,
    perCorrect: facts.accuracy ? total / facts.accuracy : NaN,
    delay: facts.latency_ms === null ? NaN : total * facts.latency_ms,
    unpriced,
    unknown,
    stateless,
    lower: Boolean(facts.uncovered || unpriced || unknown.length),
  };
}

const LACKING = {
  weight_reads: "weights", bias_reads: "biases", input_reads: "inputs", output_writes: "outputs",
  state: "states", addressing: "addresses", neurons: "neurons",
};

function inWords(data, state, model, error) {
  const memory = state.memory ? bySpec(data.memories, state.memory).name : "";
  const tech = bySpec(data.technologies, state.technology).name;
  const who = model.facts.name;
  switch (error.kind) {
    case "reading":
      return error.what;
    case "facts": {
      const what = LACKING[String(error.what).split(".")[0]] || error.what;
      return `${who} holds no facts of ${what}, which memory model “${memory}” charges.`;
    }
    case "level":
      return `Memory model “${memory}” knows no level “${error.what}” with technology “${tech}”: choose another level or technology.`;
    case "width":
      return `Memory model “${memory}” has no price at ${error.what} bits on this page: choose 8, 16 or 32.`;
    case "product":
      return `Technology “${tech}” has no multiplication, which ${error.what} takes: choose a circuit or another convention.`;
    case "multiply":
      return `Technology “${tech}” has no multiplication, which memory model “${memory}” charges: set ${error.what} to none, or choose a circuit.`;
    default:
      return `${who} was measured in an unknown number format “${error.what}”: choose a precision.`;
  }
}

/** All models under a state, with ratios to the baseline. */
function evaluate(data, models, state) {
  const results = models.map((model) => priced(data, state, model));
  const base = results.find((found) => found.name === state.baseline) || results[0];
  for (const found of results) {
    found.ratio = !found.error && !base.error && base.energy ? found.energy / base.energy : NaN;
  }
  return results;
}

/** The prices that were used, by name, as the report lists them. */
function constantsOf(found) {
  const { prices, model, mac } = found;
  const used = [["AC", prices.ac]];
  if (prices.serial) return [...used, ["MAC", prices.mac[0]]];
  const classes = new Set();
  const width = Object.keys(prices.cost.names).length && prices.cost.between;
  model.facts.rows.class.slice(0, found.rows).forEach((each, i) => {
    if (!width || mac[i] > 0) classes.add(each);
  });
  const named = new Map();
  for (const each of classes) {
    const name = prices.cost.names[each];
    if (name !== null) named.set(name, prices.mac[each]);
  }
  const order = [...named].sort((a, b) => a[0].localeCompare(b[0], "en", { numeric: true }));
  for (const [key, price] of order) used.push([priceName(key), price]);
  return used;
}

function priceName(key) {
  const [operation, ...widths] = key.replace(/_pj$/, "").split("_");
  return `${operation.toUpperCase()} ${widths.join("_").replace("x", "×")}`.trim();
}

/** Where a spiking model takes what a dense one takes; null where there is nothing to compare. */
function breakEven(data, state, ours, theirs) {
  if (ours.error || theirs.error || ours === theirs || ours.lower || theirs.lower) return null;
  const silent = priced(data, { ...state, activity: 0 }, ours.model);
  const bySpikes = ours.energy - silent.energy;
  if (!bySpikes) return null;
  const left = theirs.energy - silent.energy;
  return {
    ours, theirs, silent: silent.energy, rate: ours.rate, slope: bySpikes / ours.rate,
    rateThere: left >= 0 ? (ours.rate * left) / bySpikes : null,
  };
}

/** Why two conventions differ on one model: differences summed by what each says of the rows. */
function waterfall(data, state, model, convention) {
  const first = priced(data, state, model);
  const second = priced(data, { ...state, convention }, model);
  if (first.error || second.error) return { first, second, steps: [] };
  const steps = new Map();
  for (let i = 0; i < first.rows; i += 1) {
    const difference = second.total[i] - first.total[i];
    if (difference === 0) continue;
    const from = model.facts.reasons[first.reading.reasons[i]];
    const to = model.facts.reasons[second.reading.reasons[i]];
    const key = JSON.stringify([from, to]);
    const step = steps.get(key) || { from, to, rows: 0, difference: 0 };
    step.rows += 1;
    step.difference += difference;
    steps.set(key, step);
  }
  const order = [...steps.values()].sort((a, b) => Math.abs(b.difference) - Math.abs(a.difference));
  return { first, second, steps: order };
}

/** How far each constant in doubt moves the energy of a model, the largest span first. */
function tornado(data, state, model) {
  const base = priced(data, state, model);
  if (base.error) return { base, rows: [] };
  const tried = new Map();
  const attempt = (constant, now, value, changed) => {
    const found = priced(data, { ...state, ...changed }, model);
    if (found.error) return;
    if (!tried.has(constant)) tried.set(constant, { now, cases: [] });
    tried.get(constant).cases.push([value, found.energy]);
  };
  const { tech } = base.prices;
  const precision = precisionOf(tech, state.precision);
  for (const doubt of tech.doubts) {
    const patched = { ...tech };
    if (doubt.precisions?.[precision]) {
      patched.precisions = { ...tech.precisions, [precision]: doubt.precisions[precision] };
    }
    if (doubt.memories) patched.memories = { ...tech.memories, ...doubt.memories };
    attempt(doubt.constant, doubt.now, doubt.value, { patchedTechnology: patched });
  }
  const { memory, settings } = base.prices;
  for (const doubt of memory ? memory.doubts : []) {
    const level = doubt.constant.startsWith("levels.") ? doubt.constant.slice(7) : null;
    for (const value of doubt.values) {
      if (level) {
        const now = state.levels[level] ?? memory.levels[level] ?? 1;
        attempt(doubt.constant, 1, value, { levels: { ...state.levels, [level]: now * value } });
      } else {
        const changed = { settings: { ...state.settings, [doubt.constant]: value } };
        attempt(doubt.constant, settings[doubt.constant], value, changed);
      }
    }
  }
  for (const factor of [0.5, 2]) {
    const activity = state.activity * factor;
    attempt("activity", state.activity, activity, { activity });
  }
  const rows = [];
  for (const [constant, { now, cases }] of tried) {
    const all = [...cases, [now, base.energy]];
    const low = all.reduce((a, b) => (b[1] < a[1] ? b : a));
    const high = all.reduce((a, b) => (b[1] > a[1] ? b : a));
    if (high[1] > low[1]) {
      rows.push({ constant, now, low: low[0], high: high[0], lowPj: low[1], highPj: high[1] });
    }
  }
  rows.sort((a, b) => b.highPj - b.lowPj - (a.highPj - a.lowPj));
  return { base, rows };
}

/** Models of one series at several numbers of timesteps, by rising T. */
function seriesOf(results) {
  const found = new Map();
  for (const result of results) {
    const steps = result.model.facts.facts.timesteps;
    if (result.error || !steps) continue;
    const name = result.model.facts.series;
    if (!found.has(name)) found.set(name, []);
    found.get(name).push({ name, steps, result });
  }
  return [...found.values()]
    .filter((points) => points.length > 1 && new Set(points.map((p) => p.steps)).size === points.length)
    .map((points) => points.sort((a, b) => a.steps - b.steps));
}

/** Positions of the models that no other beats in accuracy and energy, by rising energy. */
function paretoFront(results) {
  const order = results
    .filter((r) => !r.error && r.model.facts.facts.accuracy !== null)
    .sort((a, b) => a.energy - b.energy
      || b.model.facts.facts.accuracy - a.model.facts.facts.accuracy);
  let best = -Infinity;
  return order.filter((r) => {
    const { accuracy } = r.model.facts.facts;
    const beats = accuracy > best;
    best = Math.max(best, accuracy);
    return beats;
  });
}
