// What the page shows of the results: sentences, tables, and the tree from a model to its operations.

/** The tree of one result: stages, their layers, and the operations of each. */
function treeOf(result) {
  const { model, parts, rows, total, ac, mac } = result;
  const { facts } = model;
  const names = facts.rows.module;
  const perSample = (name) => model.fact(name);
  const events = perSample("events");
  const dense = perSample("dense_macs");
  const elements = perSample("input_elements");
  const nonzeros = perSample("input_nonzeros");
  const stages = new Map();
  const partNames = Object.keys(parts);
  for (let i = 0; i < rows; i += 1) {
    const module = names[i];
    const [head, next] = module.split(".");
    const stage = next !== undefined && /^\d+$/.test(next) ? `${head}.${next}` : head;
    if (!stages.has(stage)) stages.set(stage, new Map());
    const layers = stages.get(stage);
    if (!layers.has(module)) layers.set(module, []);
    layers.get(module).push({
      id: `o${i}`, row: i, label: module, op: facts.rows.op[i], kind: facts.rows.kind[i],
      parts: Object.fromEntries(partNames.map((name) => [name, parts[name][i]])),
      energy: total[i], ac: ac[i], mac: mac[i], dense: dense[i] / facts.samples, events: events[i] / facts.samples,
      elements: elements[i] / facts.samples, nonzeros: nonzeros[i] / facts.samples,
      reason: facts.reasons[result.reading.reasons[i]], result,
    });
  }
  const numbers = ["energy", "ac", "mac", "dense", "events", "elements", "nonzeros"];
  const whole = (id, label, below) => {
    const node = { id, label, op: "", kind: "", reason: "", detailed: false, parts: {}, result };
    for (const key of numbers) node[key] = below.reduce((sum, each) => sum + each[key], 0);
    for (const name of partNames) node.parts[name] = below.reduce((sum, each) => sum + each.parts[name], 0);
    return node;
  };
  return [...stages].map(([stage, layers]) => {
    const found = [...layers].map(([module, operations]) => {
      const several = operations.length > 1;
      const ops = operations.map((op) => ({ ...op, label: several ? `${op.op}${op.kind ? ` (${op.kind})` : ""}` : module }));
      const barOps = operations.map((op) => ({ ...op, label: several ? `${module} · ${op.op}` : module }));
      const layer = several ? { ...whole(`l${operations[0].row}`, module, operations), subRows: ops } : { ...ops[0] };
      return { ...layer, operations: barOps };
    });
    const node = { ...whole(`s${found[0].id}`, stage, found), layers: found };
    return node;
  });
}

/** The same as rows of a table: what has one child alone is that child. */
function treeRows(result) {
  return treeOf(result).map((stage) =>
    (stage.layers.length === 1 ? stage.layers[0] : { ...stage, subRows: stage.layers }));
}

const layerColumns = () => {
  const total = (row) => row.result.energy;
  const number = (key, head, text, value, csv) => ({ key, head, csv, text: (row) => text(value(row)), value });
  return [
    { key: "module", head: "Module", words: true, text: (row) => row.label, value: (row) => row.label },
    { key: "op", head: "Operation", words: true, text: (row) => row.op, value: (row) => row.op },
    { key: "input", head: "Input", words: true, text: (row) => row.kind, value: (row) => row.kind },
    number("dense", "Dense MACs", si, (row) => row.dense, "dense_macs_per_sample"),
    number("events", "Events", si, (row) => row.events, "events_per_sample"),
    number("rate", "Firing rate", share, (row) => (row.elements ? row.nonzeros / row.elements : NaN), "firing_rate"),
    number("ac", "AC", si, (row) => row.ac, "ac_per_sample"),
    number("mac", "MAC", si, (row) => row.mac, "mac_per_sample"),
    ...Object.entries(DATA.components).map(([key, name]) =>
      number(key, `${name[0].toUpperCase()}${name.slice(1)} energy`, energy, (row) => row.parts[key] ?? 0, `${key}_per_sample`)),
    number("energy", "Energy", energy, (row) => row.energy, "energy_pj_per_sample"),
    number("share", "Share", share, (row) => (total(row) ? row.energy / total(row) : NaN)),
    { key: "why", head: "Why", words: true, text: (row) => row.reason, value: (row) => row.reason },
  ];
};

const comparisonColumns = (before) => {
  const facts = (r) => r.model.facts.facts;
  const column = (key, head, text, value, csv) => {
    const shown = (r) => (r.error && !["parameters", "timesteps", "samples"].includes(key) ? DASH : text(value(r), r));
    return { key, head, csv, text: shown, value: (r) => { const x = r.error ? NaN : value(r); return x === null ? NaN : x; },
      before: (r) => { const old = before(r.name); return old ? shown(old) : undefined; } };
  };
  return [
    { key: "model", head: "Model", words: true, text: (r) => r.name, value: (r) => r.name },
    column("parameters", "Parameters", si, (r) => facts(r).parameters),
    column("timesteps", "T", plain, (r) => facts(r).timesteps),
    column("dense_macs", "Dense MACs", si, (r) => r.dense),
    column("ac", "AC", si, (r) => r.acs),
    column("mac", "MAC", si, (r) => r.macs),
    column("compute", "Compute", energy, (r) => r.sums.ac_pj + r.sums.mac_pj, "compute_pj"),
    ...Object.entries(DATA.components).slice(2).map(([key, name]) =>
      column(key, name[0].toUpperCase() + name.slice(1), energy, (r) => r.sums[key] ?? 0)),
    column("energy", "Energy", (pj, r) => `${r.lower ? "≥ " : ""}${energy(pj)}`, (r) => r.energy, "energy_pj"),
    column("ratio", "Ratio", ratio, (r) => r.ratio),
    column("mac_share", "MAC share", share, (r) => r.macShare),
    column("sparsity", "Sparsity", share, (r) => facts(r).sparsity),
    column("spikes_per_synapse", "Spikes/synapse", withUnit(""), (r) => r.perSynapse),
    column("parameters_bytes", "Weights", bytes, (r) => facts(r).parameters_bytes),
    column("latency_ms", "Latency", withUnit(" ms"), (r) => facts(r).latency_ms),
    column("energy_delay", "Energy-delay", (x) => withUnit(" mJ·ms")(x * 1e-9), (r) => r.delay, "energy_delay_pj_ms"),
    column("energy_per_correct", "Energy per correct answer", energy, (r) => r.perCorrect, "energy_per_correct_pj"),
    column("accuracy", "Accuracy", share, (r) => facts(r).accuracy),
    column("samples", "Samples", plain, (r) => r.model.facts.samples),
  ];
};

/** The first paragraph: which model is cheapest, and what it was priced with. */
function summaryOf(results, state) {
  const good = results.filter((r) => !r.error);
  if (!good.length) return "No model can be priced so.";
  const say = (key, parts = {}) => filled(DATA.sentences[key], parts);
  const order = [...good].sort((a, b) => a.energy - b.energy);
  const best = order[0];
  const worst = order[order.length - 1];
  const second = order[1];
  const number = order.length;
  let text;
  if (number === 1) text = say("alone", { best: best.name, energy: boundText(best) });
  else if (best.energy === worst.energy) text = say("same", { number, energy: boundText(best) });
  else {
    const factor = (r) => ratio(r.energy / best.energy).replace("×", "");
    text = say("cheapest", { number, best: best.name, energy: boundText(best) });
    if (best.energy) {
      text += say("second", { second: second.name, factor: factor(second) });
      if (worst !== second) text += say("dearest", { worst: worst.name, factor: factor(worst) });
    }
    text += ".";
  }
  if (!best.energy) text += ` ${say("uncharged", { best: best.name })}`;
  else {
    text += ` ${say("share", { share: share(best.macShare), best: best.name })}`;
    if (worst !== best && worst.energy) text += say("other_share", { share: share(worst.macShare), worst: worst.name });
    text += ".";
  }
  return `${text} ${basisOf(best, state)}`;
}

function basisOf(result, state) {
  const say = (key, parts = {}) => filled(DATA.sentences[key], parts);
  const { prices } = result;
  const costs = constantsOf(result).map(([operation, value]) => say("price", { value: general(value), operation })).join(", ");
  const moves = prices.memory ? say("moved", { memory: prices.memory.name, settings: settingsInWords(prices.settings) }) : say("still");
  return say("priced", { precision: prices.cost.precision, technology: prices.tech.title, prices: costs,
    convention: bySpec(DATA.conventions, state.convention).name, moves });
}

/** The widths, reuse and levels of a memory model in words. */
function settingsInWords(settings) {
  const parts = [];
  if (settings.weight_reads !== "none") {
    parts.push(`${settings.weight_bits}-bit weights from ${settings.weight_level} ${DATA.often[settings.weight_reads]}`);
  }
  if (settings.input_reads !== "none" || settings.output_writes !== "none") {
    let text = `${settings.activation_bits}-bit activations`;
    if (settings.spike_bits) {
      const where = settings.spike_level ? ` in ${settings.activation_level}` : "";
      text += `${where} and ${settings.spike_bits}-bit spikes`;
    }
    text += ` in ${(settings.spike_bits && settings.spike_level) || settings.activation_level}`;
    parts.push(text + (settings.hops === 1 ? "" : ` over ${general(settings.hops)} hops`));
  }
  if (settings.state !== "none") {
    const also = settings.state === "event" ? " and event" : "";
    parts.push(`${settings.state_bits}-bit state in ${settings.state_level} each update${also}`);
  }
  return parts.join(", ");
}

/** What limits the figures: each remark once, with the models that it is about. */
function remarksOf(results, state) {
  const groups = new Map();
  const add = (text, who = null) => {
    const own = who !== null && text.startsWith(`${who}: `);
    const key = own ? text.slice(who.length + 2) : text;
    if (!groups.has(key)) groups.set(key, new Set());
    if (own) groups.get(key).add(who);
  };
  for (const text of DATA.remarks) add(text);
  for (const r of results) {
    for (const text of r.model.facts.remarks) add(text, r.name);
    if (r.error) { add(`${r.name}: has no energy under these settings. ${r.error}`, r.name); continue; }
    for (const text of notesOf(r, state)) add(text, r.name);
  }
  return [...groups].map(([text, names]) => ({ text, names: [...names] }));
}

/** The sentences on one model that depend on the prices. */
function notesOf(r, state) {
  const { prices } = r;
  const note = (key, parts = {}) => filled(DATA.notes[key], { name: r.name, ...parts });
  const found = [];
  if (r.unpriced) found.push(note("unpriced", { technology: prices.tech.title, macs: si(r.unpriced) }));
  if (prices.cost.between) found.push(note("between", { precision: prices.cost.precision, technology: prices.tech.name }));
  if (r.unknown.length) found.push(note("unknown_neurons", { modules: listed(r.unknown) }));
  if (r.stateless) found.push(note("stateless"));
  const convention = bySpec(DATA.conventions, state.convention);
  if (prices.specials) {
    const [low, high] = DATA.special_multiplies.map((n) => energy(r.energy + prices.specials * (n / convention.special - 1)));
    if (low !== high) found.push(note("elementwise", { each: general(convention.special), low, high }));
  }
  for (const what of [prices.tech, convention, prices.memory]) {
    if (what && what.confidence === "C") found.push(filled(DATA.notes.secondary, { name: what.name.split("(")[0] }));
  }
  const measured = r.model.facts.dtype;
  const { precision } = prices.cost;
  if (prices.tech.circuit && measured && measured !== precision.replace("fp", "float")) found.push(note("format", { precision, measured }));
  return found;
}

/** All that is known of one operation, as a list of terms. */
function detailsOf(row) {
  const { model } = row.result;
  const { facts } = model;
  const i = row.row;
  const module = facts.rows.module[i];
  const pairs = [];
  const add = (term, text, value) => {
    if (text !== "" && text !== null && text !== DASH) pairs.push([term, text, value]);
  };
  const per = (name) => model.fact(name)[i] / facts.samples;
  add("Operation", `${row.op} of ${module}`);
  add("Reads", row.kind.replace("*", " × "));
  add("Read as", row.reason);
  add("Shape", facts.rows.shape[i]);
  const weights = model.fact("weight_elements")[i];
  if (weights) add("Weights", `${si(weights)} ${facts.rows.weights[i]}, ${si(model.fact("weight_nonzeros")[i])} not zero`);
  if (facts.rows.product[i]) {
    add("Dense work", `${si(row.dense)} MACs`, row.dense);
    add("Events", si(row.events), row.events);
    add("Elements read", `${si(row.elements)}, ${si(row.nonzeros)} not zero`);
    add("Elements written", si(per("outputs")));
  } else add("State read and written", `${si(per("state_elements"))} elements`);
  const step = facts.steps[module];
  if (step) add("Rate per timestep", step.elements.map((n, t) => share(n ? step.nonzeros[t] / n : NaN)).join(", "));
  for (const [axis, modules] of Object.entries(facts.groups)) {
    const groups = modules[module];
    if (groups) add(`Rate per ${axis} group`, Object.values(groups).map(([n, k]) => share(n ? k / n : NaN)).join(", "));
  }
  for (const [key, pj] of Object.entries(row.parts)) if (pj) add(`Energy of ${DATA.components[key]}`, energy(pj), pj);
  const again = facts.repeated.find(([name, op]) => name === module && op === row.op);
  if (again) add("Repeated each timestep", `${si(again[1] / facts.samples)} MACs and ${si(again[2] / facts.samples)} events that caching its result would save`);
  return h("dl", {}, pairs.map(([term, text, value]) => {
    const dd = h("dd", {}, text);
    if (value !== undefined) dd.dataset.value = String(value);
    return h("div", {}, h("dt", {}, term), dd);
  }));
}

/** Sparsity of each group over all layers of a model, as rows. */
function groupRows(models) {
  return models.flatMap((model) => Object.entries(model.facts.groups).flatMap(([axis, modules]) => {
    const sums = new Map();
    for (const groups of Object.values(modules)) {
      for (const [group, [elements, nonzeros]] of Object.entries(groups)) {
        const sum = sums.get(group) || [0, 0];
        sums.set(group, [sum[0] + elements, sum[1] + nonzeros]);
      }
    }
    const rates = [...sums].sort(([a], [b]) => a - b).map(([, [elements, nonzeros]]) => (elements ? nonzeros / elements : NaN));
    return [{ id: `${model.index}-${axis}`, model: model.facts.name, axis, rates }];
  }));
}
