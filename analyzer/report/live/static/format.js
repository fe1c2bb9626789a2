// Figures as text, as analyzer/units.py writes them; a test holds both against each other.

const DASH = "–";

/** The mantissa and exponent of a number to so many digits, ties to even as Python rounds. */
function exponential(value, digits) {
  const exact = Math.abs(value).toExponential(100);
  const [mantissa, exponent] = exact.split("e");
  const rest = mantissa.replace(".", "").slice(digits);
  if (/^50*$/.test(rest)) {
    const kept = mantissa.replace(".", "").slice(0, digits);
    if (Number(kept[kept.length - 1]) % 2 === 0) {
      return Number(`${kept[0]}.${kept.slice(1)}e${exponent}`) * Math.sign(value);
    }
  }
  return Number(value.toExponential(digits - 1));
}

/** A number with so many decimals, ties to even. */
function fixed(value, decimals) {
  const exact = Math.abs(value).toFixed(100);
  const point = exact.indexOf(".");
  if (/^50*$/.test(exact.slice(point + 1 + decimals))) {
    const kept = exact.slice(0, point + 1 + decimals).replace(/\.$/, "");
    if (Number(kept[kept.length - 1]) % 2 === 0) return (value < 0 ? "-" : "") + kept;
  }
  return value.toFixed(decimals);
}

function significant(rounded, digits) {
  const magnitude = rounded ? Math.floor(Math.log10(Math.abs(rounded))) : 0;
  return fixed(rounded, Math.max(digits - 1 - magnitude, 0));
}

function scaled(value, scale, digits, unit) {
  if (value === null || value === undefined || Number.isNaN(value)) return DASH;
  const rounded = exponential(value, digits);
  const [factor, name] = scale.find(([size]) => Math.abs(rounded) >= size) || [1, unit];
  if (factor === 1 && Number.isInteger(value)) return `${value.toFixed(0)} ${name}`.trim();
  return `${significant(rounded / factor, digits)} ${name}`.trim();
}

const COUNTS = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
const ENERGIES = [[1e12, "J"], [1e9, "mJ"], [1e6, "µJ"], [1e3, "nJ"]];
const SIZES = [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]];

const si = (value) => scaled(value, COUNTS, 3, "");
const energy = (pj) => scaled(pj, ENERGIES, 3, "pJ");
const bytes = (value) => scaled(value, SIZES, 3, "B");
const energyUnit = (largest) => ENERGIES.find(([size]) => largest >= size) || [1, "pJ"];

function ratio(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  return value === 0 ? "0×" : `${significant(exponential(value, 3), 3)}×`;
}

function share(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return DASH;
  if (value === 0 || value === 1) return `${fixed(100 * value, 0)} %`;
  return value > 0 && value < 0.0005 ? "< 0.1 %" : `${fixed(100 * value, 1)} %`;
}

/** As Python's format :g, to so many digits. */
function general(value, digits = 6) {
  if (value === null || value === undefined || Number.isNaN(value)) return DASH;
  if (value === 0) return "0";
  const rounded = exponential(value, digits);
  const exponent = Math.floor(Math.log10(Math.abs(rounded)) + 1e-12);
  if (exponent < -4 || exponent >= digits) {
    const [mantissa, power] = rounded.toExponential(digits - 1).split("e");
    const trimmed = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
    const sign = power[0] === "-" ? "-" : "+";
    return `${trimmed}e${sign}${power.replace(/^[+-]/, "").padStart(2, "0")}`;
  }
  const text = rounded.toFixed(Math.max(digits - 1 - exponent, 0));
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

const plain = (value) => (value === null || value === undefined || Number.isNaN(value) ? DASH : String(value));
const withUnit = (unit) => (value) => {
  const text = general(value, 3);
  return text === DASH ? DASH : text + unit;
};
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** A sentence with its {parts} filled in. */
const filled = (template, parts) => template.replace(/\{(\w+)\}/g, (_, key) => String(parts[key]));

function listed(items, most = 4) {
  const text = items.slice(0, most).join(", ");
  return items.length <= most ? text : `${text} and ${items.length - most} more`;
}
