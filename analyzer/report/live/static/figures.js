// Figures: what each draws, its caption, and the same numbers as a table. Observable Plot draws them.

let hatches = 0;

/** Patterns of the print figures, as definitions of one drawing. */
function patterns() {
  hatches += 1;
  const defs = s("defs");
  const ids = {};
  const lines = {
    "/////": "M0,6L6,0M-1,1L1,-1M5,7L7,5", "....": null, xxxx: "M0,0L6,6M0,6L6,0", "----": "M0,3L6,3",
  };
  for (const [key, style] of Object.entries(DATA.styles)) {
    const id = `hatch-${hatches}-${key}`;
    const pattern = s("pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse" },
      s("rect", { width: 6, height: 6, fill: style.facecolor }));
    if (style.hatch === "....") pattern.append(s("circle", { cx: 2, cy: 2, r: 0.9, fill: style.edgecolor }));
    else if (lines[style.hatch]) {
      pattern.append(s("path", { d: lines[style.hatch], stroke: style.edgecolor, "stroke-width": 0.8, fill: "none" }));
    }
    defs.append(pattern);
    ids[key] = `url(#${id})`;
  }
  return { defs, ids };
}

/** A legend as part of the drawing, so that it is saved with it. */
function legendMark(items, width, left = 0) {
  return () => {
    const group = s("g", { "aria-hidden": "true", class: "legend" });
    let x = left;
    let y = 0;
    for (const { label, fill, stroke, round } of items) {
      const size = 30 + widthOf(label);
      if (x > left && x + size > width) { x = left; y += 18; }
      group.append(round
        ? s("circle", { cx: x + 6, cy: y + 8, r: 4.5, fill, stroke })
        : s("rect", { x, y: y + 2, width: 12, height: 12, fill, stroke, "stroke-width": 0.6 }));
      group.append(s("text", { x: x + 17, y: y + 12, fill: "currentColor", "font-size": 12, "text-anchor": "start" }, label));
      x += size;
    }
    return group;
  };
}
const legendHeight = (items, width) => {
  let x = 0;
  let lines = 1;
  for (const { label } of items) {
    const size = 30 + widthOf(label);
    if (x > 0 && x + size > width) { x = 0; lines += 1; }
    x += size;
  }
  return lines * 18 + 8;
};

/** Pixels that a text takes in a drawing. */
function widthOf(text, size = 12) {
  widthOf.context ??= document.createElement("canvas").getContext("2d");
  widthOf.context.font = `${size}px ${getComputedStyle(document.body).fontFamily}`;
  return widthOf.context.measureText(text).width;
}

/** A text that takes at most so many pixels; of a longer one the middle is left out. */
function clipped(text, pixels) {
  let most = text.length;
  while (most > 3 && widthOf(short(text, most)) > pixels) most -= 1;
  return short(text, most);
}

const widest = (texts) => Math.max(0, ...texts.map((text) => widthOf(text)));

const short = (text, most) => {
  if (text.length <= most) return text;
  const head = Math.ceil((most - 1) / 2);
  return `${text.slice(0, head)}…${text.slice(text.length - (most - 1 - head))}`;
};

function partsIn(results) {
  return Object.keys(DATA.components).filter((key) =>
    key === "ac_pj" || key === "mac_pj" || results.some((r) => r.sums?.[key]));
}

const legendOf = (parts, ids) => parts.map((key) => ({
  label: DATA.styles[key].label, fill: ids[key], stroke: DATA.styles[key].edgecolor,
}));

/** What all horizontal axes have in common. */
const across = (options) => ({ labelAnchor: "center", labelArrow: "none", labelOffset: 36, ...options });

const BASE = { style: { background: "none", color: "inherit", fontFamily: "inherit", overflow: "visible" }, className: "drawn" };

/** Stacked bars: a row a name, a part a component. */
function stacked(rows, parts, { width, label = null, height = 26, names = "name" }) {
  const { defs, ids } = patterns();
  const items = legendOf(parts, ids);
  const room = width * (width < 480 ? 0.32 : 0.34);
  const nameOf = new Map(rows.map((row) => [row.key, clipped(row[names], room)]));
  const left = Math.ceil(widest([...nameOf.values()])) + 14;
  const right = label ? Math.ceil(widest(rows.map(label))) + 12 : 14;
  const [size, unit] = energyUnit(Math.max(...rows.map((row) => row.total), 0));
  const top = legendHeight(items, width) + 4;
  const data = rows.flatMap((row) => parts.map((part) => ({ y: row.key, part, x: row.parts[part] / size })));
  const max = Math.max(...rows.map((row) => row.total / size), 0) || 1;
  const plot = Plot.plot({
    ...BASE, width, height: top + 44 + rows.length * height, marginLeft: left, marginRight: right, marginTop: top,
    marginBottom: 44,
    x: across({ domain: [0, max], label: `Energy per sample (${unit})`, nice: true, ticks: width < 480 ? 4 : 6 }),
    y: { domain: rows.map((row) => row.key), label: null, tickFormat: (key) => nameOf.get(key), tickSize: 0, padding: 0.28 },
    color: { type: "ordinal", domain: parts, range: parts.map((part) => ids[part]) },
    marks: [
      Plot.gridX({ stroke: "currentColor", strokeOpacity: 0.15 }),
      Plot.barX(data, { x: "x", y: "y", fill: "part", stroke: "currentColor", strokeWidth: 0.4, strokeOpacity: 0.6,
        order: parts }),
      Plot.ruleX([0], { stroke: "currentColor" }),
      label ? Plot.text(rows, { x: (row) => row.total / size, y: "key", text: label, textAnchor: "start", dx: 5,
        fill: "currentColor" }) : null,
      legendMark(items, width),
    ],
  });
  plot.prepend(defs);
  return plot;
}

const energyTable = (rows, parts) => ({
  head: ["", ...parts.map((part) => DATA.styles[part].label), "Total"],
  rows: rows.map((row) => [row.name, ...parts.map((part) => [energy(row.parts[part]), row.parts[part]]),
    [row.text || energy(row.total), row.total]]),
});

const boundText = (result) => `${result.lower ? "≥ " : ""}${energy(result.energy)}`;

function energyFigure(results, base) {
  const good = results.filter((r) => !r.error);
  if (!good.length) return null;
  const parts = partsIn(good);
  const rows = good.map((r) => ({ key: r.name, name: r.name, parts: r.sums, total: r.energy, text: boundText(r), ratio: r.ratio }));
  const moved = parts.slice(2).map((part) => DATA.components[part]);
  const label = (row) => row.text + (good.length > 1 && Number.isFinite(row.ratio) ? ` (${ratio(row.ratio)})` : "");
  return {
    caption: `Energy of one inference: accumulates (AC) and multiply-accumulates (MAC)${moved.length
      ? `, and ${moved.join(", ")} under the memory model,` : ""} stacked; at each bar its total${good.length > 1
      ? `, in brackets against ${base}` : ""}.`,
    alt: `Bar chart of the energy per sample. ${rows.slice(0, 12).map((row) => `${row.name}: ${row.text}`).join("; ")}.`,
    draw: (width) => stacked(rows, parts, { width, label, height: good.length > 12 ? 20 : 30 }),
    table: energyTable(rows, parts),
  };
}

function layersFigure(result, level) {
  if (!result || result.error) return null;
  const parts = partsIn([result]);
  const tree = treeOf(result);
  const chosen = level === "stages" ? tree : level === "layers" ? tree.flatMap((n) => n.layers) : tree.flatMap((n) => n.layers.flatMap((l) => l.operations));
  const rows = chosen.map((node) => ({ key: node.id, name: node.label, parts: node.parts, total: node.energy }));
  const most = rows.reduce((a, b) => (b.total > a.total ? b : a), rows[0]);
  return {
    caption: `Energy of one inference of ${result.name} by ${level}, in order of execution. Most is taken by ${most.name}: ${energy(most.total)}, ${share(result.energy ? most.total / result.energy : NaN)} of all.`,
    alt: `Bar chart of the energy by ${level}. Most in ${most.name}, ${energy(most.total)}.`,
    draw: (width) => stacked(rows, parts, { width, height: rows.length > 24 ? 17 : 22 }),
    table: energyTable(rows, parts),
  };
}

function paretoFigure(results) {
  const points = results.filter((r) => !r.error && r.model.facts.facts.accuracy !== null);
  if (!points.length) return null;
  const [size, unit] = energyUnit(Math.max(...points.map((r) => r.energy)));
  const front = paretoFront(points);
  const energies = points.map((r) => r.energy);
  const log = Math.min(...energies) > 0 && Math.max(...energies) > 5 * Math.min(...energies);
  const accuracy = (r) => 100 * r.model.facts.facts.accuracy;
  const colour = (r) => DATA.colours.series[r.model.index];
  return {
    caption: `Accuracy against energy. On the line stand the models that no other beats in both: ${listed(front.map((r) => r.name), 6)}.`,
    alt: `Scatter chart of accuracy against energy. ${points.slice(0, 12).map((r) => `${r.name}: ${energy(r.energy)}, ${share(r.model.facts.facts.accuracy)}`).join("; ")}.`,
    draw: (width) => Plot.plot({
      ...BASE, width, height: Math.min(380, width * 0.62 + 60), marginLeft: 48, marginRight: 14, marginTop: 30, marginBottom: 46,
      x: across({ type: log ? "log" : "linear", label: `Energy per sample (${unit})`, ...(log ? {} : { domain: [0, Math.max(...energies) / size * 1.05] }),
        tickFormat: (x) => general(x, 3), ticks: width < 480 ? 3 : 8, inset: width < 480 ? 40 : 70 }),
      y: { label: "Accuracy (%)", labelArrow: "none", inset: 18, ticks: 5 },
      marks: [
        Plot.gridY({ stroke: "currentColor", strokeOpacity: 0.15 }),
        Plot.line(front, { x: (r) => r.energy / size, y: accuracy, curve: "step-after", stroke: "currentColor", strokeOpacity: 0.5 }),
        Plot.dot(points, { x: (r) => r.energy / size, y: accuracy, fill: colour, stroke: "currentColor", strokeWidth: 0.6, r: 4.5,
          symbol: (r) => ["circle", "square", "diamond2", "triangle", "star", "times"][r.model.index % 6], title: (r) => `${r.name}\n${energy(r.energy)}, ${share(r.model.facts.facts.accuracy)}` }),
        Plot.text(points.length > 14 ? front : points, { x: (r) => r.energy / size, y: accuracy, text: (r) => short(r.name, 26),
          dy: -11, fill: "currentColor", textAnchor: (r) => "middle", frameAnchor: "middle" }),
      ],
      symbol: { type: "identity" }, color: { type: "identity" },
    }),
    table: { head: ["Model", "Energy", "Accuracy", "Energy per correct answer"],
      rows: points.map((r) => [r.name, [energy(r.energy), r.energy], [share(r.model.facts.facts.accuracy), r.model.facts.facts.accuracy], [energy(r.perCorrect), r.perCorrect]]) },
  };
}

function stepsFigure(results) {
  const series = seriesOf(results);
  if (!series.length) return null;
  const points = series.flat();
  const [size, unit] = energyUnit(Math.max(...points.map((p) => p.result.energy)));
  const names = series.map((each) => each[0].name);
  const colour = new Map(series.map((each) => [each[0].name, DATA.colours.series[each[0].result.model.index]]));
  return {
    caption: `Energy against the number of timesteps, for each model that was measured at several: ${listed(names, 6)}.`,
    alt: `Line chart of energy against timesteps. ${series.slice(0, 8).map((each) => `${each[0].name}: ${each.map((p) => `T ${p.steps} ${energy(p.result.energy)}`).join(", ")}`).join("; ")}.`,
    draw: (width) => Plot.plot({
      ...BASE, width, height: Math.min(360, width * 0.55 + 60), marginLeft: 56, marginRight: width < 480 ? 20 : 150, marginBottom: 46, marginTop: 28,
      x: across({ label: "Timesteps T", ticks: [...new Set(points.map((p) => p.steps))], tickFormat: String, type: "log", inset: 8 }),
      y: { label: `Energy per sample (${unit})`, labelArrow: "none", zero: true, nice: true },
      color: { type: "identity" },
      marks: [
        Plot.gridY({ stroke: "currentColor", strokeOpacity: 0.15 }),
        Plot.line(points, { x: "steps", y: (p) => p.result.energy / size, z: "name", stroke: (p) => colour.get(p.name), strokeWidth: 1.6 }),
        Plot.dot(points, { x: "steps", y: (p) => p.result.energy / size, fill: (p) => colour.get(p.name), stroke: "currentColor", strokeWidth: 0.5,
          r: 4, title: (p) => `${p.result.name}\n${energy(p.result.energy)}` }),
        width < 480 ? null : Plot.text(series.map((each) => each[each.length - 1]), { x: "steps", y: (p) => p.result.energy / size, text: (p) => short(p.name, 22), dx: 8, textAnchor: "start", fill: "currentColor" }),
      ],
    }),
    table: { head: ["Model", "T", "Energy", "Accuracy"], rows: points.map((p) => [p.result.name, [String(p.steps), p.steps], [energy(p.result.energy), p.result.energy], [share(p.result.model.facts.facts.accuracy), p.result.model.facts.facts.accuracy]]) },
  };
}

function breakEvenFigure(found) {
  if (!found) return null;
  const { ours, theirs, silent, rate, slope, rateThere } = found;
  const right = Math.min(Math.max(rate, rateThere ?? 0, 0.05) * 1.25, Math.max(1, rate) * 1.05);
  const [size, unit] = energyUnit(Math.max(silent + slope * right, theirs.energy));
  const verdict = rateThere === null
    ? `Even silent it would take more than ${theirs.name}.`
    : rateThere > 1 ? `It would take less than ${theirs.name} even where every neuron always fires.`
      : `Both would take the same at a rate of ${general(rateThere, 3)}.`;
  return {
    caption: `Energy of ${ours.name} against the firing rate, the share of the dense work of driven layers that spikes cause. Today's rate is ${general(rate, 3)}. ${verdict}`,
    alt: `Line chart of energy against firing rate. Today ${general(rate, 3)}: ${energy(ours.energy)}. ${theirs.name} takes ${energy(theirs.energy)}. ${verdict}`,
    draw: (width) => Plot.plot({
      ...BASE, width, height: Math.min(340, width * 0.5 + 70), marginLeft: 52, marginRight: 24, marginTop: 28, marginBottom: 46,
      x: across({ label: width < 480 ? "Firing rate" : "Firing rate (share of dense work that spikes cause)", domain: [0, right], ticks: width < 480 ? 4 : 8 }),
      y: { label: `Energy per sample (${unit})`, labelArrow: "none", domain: [0, Math.max(silent + slope * right, theirs.energy) / size * 1.1], nice: true },
      marks: [
        Plot.gridY({ stroke: "currentColor", strokeOpacity: 0.15 }),
        Plot.ruleY([theirs.energy / size], { stroke: DATA.colours.more, strokeWidth: 1.8, strokeDasharray: "6,4" }),
        Plot.text([0], { x: 0, y: () => theirs.energy / size, text: () => short(theirs.name, 28), dy: -8, dx: 4, textAnchor: "start", fill: "currentColor" }),
        Plot.line([[0, silent / size], [right, (silent + slope * right) / size]], { stroke: DATA.colours.less, strokeWidth: 2 }),
        Plot.dot([[rate, ours.energy / size]], { r: 5.5, fill: DATA.colours.less, stroke: "currentColor" }),
        Plot.text([[rate, ours.energy / size]], { text: () => "today", dy: -14, fill: "currentColor" }),
        rateThere === null || rateThere > 1 ? null : Plot.dot([[rateThere, theirs.energy / size]], { r: 6, stroke: "currentColor", strokeWidth: 2, fill: "none" }),
        rateThere === null || rateThere > 1 ? null : Plot.text([[rateThere, theirs.energy / size]], { text: () => "break-even", dy: -14, fill: "currentColor" }),
      ],
    }),
    table: { head: ["", "Value"], rows: [["Rate today", [general(rate, 6), rate]], ["Break-even rate", [rateThere === null ? "never" : general(rateThere, 6), rateThere ?? NaN]], [ours.name, [energy(ours.energy), ours.energy]], [`${ours.name}, silent`, [energy(silent), silent]], [theirs.name, [energy(theirs.energy), theirs.energy]]] },
  };
}

function waterfallFigure(found, firstName, secondName) {
  const { first, second, steps } = found;
  if (first.error || second.error) return null;
  const bars = [{ key: "a", name: firstName, from: 0, to: first.energy, kind: "neutral" }];
  let level = first.energy;
  steps.forEach((step, i) => {
    bars.push({ key: `s${i}`, name: `${step.from} → ${step.to}`, reasons: [step.from, step.to], from: level, to: level + step.difference, rows: step.rows,
      kind: step.difference > 0 ? "more" : "less", difference: step.difference });
    level += step.difference;
  });
  bars.push({ key: "b", name: secondName, from: 0, to: second.energy, kind: "neutral" });
  const [size, unit] = energyUnit(Math.max(...bars.flatMap((bar) => [bar.from, bar.to])));
  const signed = (pj) => `${pj > 0 ? "+" : "−"}${energy(Math.abs(pj))}`;
  const times = first.energy ? `, ${ratio(second.energy / first.energy)} as much` : "";
  return {
    caption: `${first.name}: from convention “${firstName}” (${energy(first.energy)}) to “${secondName}” (${energy(second.energy)}${times}). Each step sums the rows that both read for the same two reasons.${steps.length ? "" : " Both read every row alike."}`,
    alt: `Waterfall chart from ${energy(first.energy)} to ${energy(second.energy)}. ${steps.slice(0, 5).map((step) => `${step.from} to ${step.to}: ${signed(step.difference)}`).join("; ")}.`,
    draw: (width) => {
      const wide = width >= 640;
      const room = width * (wide ? 0.42 : 0.38);
      const nameOf = new Map(bars.map((bar) => [bar.key, bar.rows
        ? `${clipped(bar.reasons[0], room)}\n${clipped(`→ ${bar.reasons[1]}`, room)}` : clipped(bar.name, room)]));
      const left = Math.ceil(widest([...nameOf.values()].flatMap((name) => name.split("\n")))) + 14;
      const max = Math.max(...bars.flatMap((bar) => [bar.from, bar.to])) / size || 1;
      return Plot.plot({
        ...BASE, width, height: 60 + bars.length * 38, marginLeft: left, marginRight: wide ? 84 : 66, marginBottom: 46, marginTop: 10,
        x: across({ label: `Energy per sample (${unit})`, domain: [0, max], ticks: wide ? 6 : 2 }),
        y: { domain: bars.map((bar) => bar.key), axis: null, padding: 0.3 },
        color: { type: "identity" },
        marks: [
          Plot.axisY({ tickFormat: (key) => nameOf.get(key), label: null, tickSize: 0, lineHeight: 1.25 }),
          Plot.gridX({ stroke: "currentColor", strokeOpacity: 0.15 }),
          Plot.barX(bars, { x1: (bar) => bar.from / size, x2: (bar) => bar.to / size, y: "key", fill: (bar) => DATA.colours[bar.kind], title: "name",
            stroke: "currentColor", strokeWidth: 0.4 }),
          Plot.text(bars, { x: (bar) => Math.max(bar.from, bar.to) / size, y: "key", dx: 5, textAnchor: "start", fill: "currentColor",
            text: (bar) => (bar.kind === "neutral" ? energy(bar.to) : signed(bar.difference)) }),
        ],
      });
    },
    table: { head: ["Step", "Rows", "Difference", "Energy"], rows: bars.map((bar) => [bar.name, bar.rows ? [String(bar.rows), bar.rows] : "", bar.rows ? [signed(bar.difference), bar.difference] : "", [energy(bar.to), bar.to]]) },
  };
}

function tornadoFigure({ base, rows }) {
  if (base.error || !rows.length) return null;
  const most = rows.slice(0, 14);
  const [size, unit] = energyUnit(Math.max(...most.map((row) => row.highPj)));
  const bars = most.flatMap((row) => [
    { key: row.constant, from: row.lowPj, to: base.energy, kind: "less" },
    { key: row.constant, from: base.energy, to: row.highPj, kind: "more" },
  ]);
  const value = (x) => (typeof x === "number" ? general(x, 4) : x);
  return {
    caption: `How far each constant alone moves the energy of ${base.name}, between the ends of the range that sources give it; activity from half to twice. ${rows[0].constant} moves it most: from ${energy(rows[0].lowPj)} (${value(rows[0].low)}) to ${energy(rows[0].highPj)} (${value(rows[0].high)}).`,
    alt: `Tornado chart. ${most.slice(0, 6).map((row) => `${row.constant}: ${energy(row.lowPj)} to ${energy(row.highPj)}`).join("; ")}.`,
    draw: (width) => {
      const nameOf = new Map(most.map((row) => [row.constant, clipped(row.constant, width * 0.34)]));
      const left = Math.ceil(widest([...nameOf.values()])) + 14;
      return Plot.plot({
        ...BASE, width, height: 64 + most.length * 32, marginLeft: left, marginRight: 40, marginBottom: 46, marginTop: 8,
        x: across({ label: `Energy per sample (${unit})`, inset: 46, ticks: width < 480 ? 3 : 6 }),
        y: { domain: most.map((row) => row.constant), tickFormat: (key) => nameOf.get(key), label: null, tickSize: 0, padding: 0.3 },
        color: { type: "identity" },
        marks: [
          Plot.gridX({ stroke: "currentColor", strokeOpacity: 0.15 }),
          Plot.barX(bars, { x1: (bar) => bar.from / size, x2: (bar) => bar.to / size, y: "key", fill: (bar) => DATA.colours[bar.kind], stroke: "currentColor", strokeWidth: 0.4 }),
          Plot.ruleX([base.energy / size], { stroke: "currentColor" }),
          Plot.text(most, { x: (row) => row.highPj / size, y: "constant", text: (row) => value(row.high), dx: 4, textAnchor: "start", fill: "currentColor" }),
          Plot.text(most, { x: (row) => row.lowPj / size, y: "constant", text: (row) => value(row.low), dx: -4, textAnchor: "end", fill: "currentColor" }),
        ],
      });
    },
    table: { head: ["Constant", "Now", "Least at", "Most at", "Least", "Most"],
      rows: rows.map((row) => [row.constant, value(row.now), value(row.low), value(row.high), [energy(row.lowPj), row.lowPj], [energy(row.highPj), row.highPj]]) },
  };
}

function ratesFigure(model) {
  const modules = Object.entries(model.facts.steps).filter(([, step]) => step.spikes);
  if (!modules.length) return null;
  const cells = modules.flatMap(([name, step]) => step.elements.map((elements, t) => ({ name, t, rate: elements ? step.nonzeros[t] / elements : NaN })));
  const steps = Math.max(...modules.map(([, step]) => step.elements.length));
  const high = Math.max(...cells.map((cell) => cell.rate || 0)) || 1;
  return {
    caption: `${model.facts.name}: share of non-zeros among the spikes that each layer reads, for every timestep (counted from 0), as measured. Prices do not change it.`,
    alt: `Heat map of firing rates of ${modules.length} layers over ${steps} timesteps, up to ${share(high)}.`,
    draw: (width) => {
      const nameOf = new Map(modules.map(([name]) => [name, clipped(name, width * 0.36)]));
      const left = Math.ceil(widest([...nameOf.values()])) + 14;
      const row = modules.length > 40 ? 13 : 20;
      return Plot.plot({
        ...BASE, width, height: 56 + modules.length * row, marginLeft: left, marginBottom: 46, marginTop: 6,
        x: across({ label: "Timestep", tickFormat: String, padding: 0.04, ticks: steps > 16 ? 8 : steps }), y: { label: null, domain: modules.map(([name]) => name), tickFormat: (name) => nameOf.get(name), tickSize: 0, padding: 0.06 },
        color: { type: "linear", domain: [0, high], range: ["#eaf3fa", "#00457a"] },
        marks: [
          Plot.cell(cells, { x: "t", y: "name", fill: "rate", title: (cell) => `${cell.name}, t = ${cell.t}: ${share(cell.rate)}` }),
          ...(steps <= 8 && width >= 480 ? [true, false].map((deep) => Plot.text(cells.filter((cell) => (cell.rate > 0.6 * high) === deep),
            { x: "t", y: "name", text: (cell) => share(cell.rate), fill: deep ? "white" : "#16283a", fontSize: Math.min(11, row - 4) })) : []),
        ],
      });
    },
    table: { head: ["Layer", ...Array.from({ length: steps }, (_, t) => `t = ${t}`)], rows: modules.map(([name, step]) => [name, ...Array.from({ length: steps }, (_, t) => [share(step.elements[t] ? step.nonzeros[t] / step.elements[t] : NaN), step.elements[t] ? step.nonzeros[t] / step.elements[t] : NaN])]) },
  };
}
