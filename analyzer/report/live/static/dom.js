// Small helpers around the document. Text goes in as text: no markup is ever parsed.

const SVG = "http://www.w3.org/2000/svg";

function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && typeof value !== "string") element[key] = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

const isSame = (one, other) => one.nodeName === other.nodeName
  && (one.nodeType !== Node.ELEMENT_NODE || (one.id === other.id && one.dataset.part === other.dataset.part));

/**
 * Makes an element what another one is, and uses that one up. What is in both is never taken out, so a
 * slider under the pointer and a field with a caret stay. Parts are told apart by name, id and `data-part`.
 */
function become(element, wanted) {
  const { value } = wanted; // before its options move
  for (const { name } of [...element.attributes]) if (!wanted.hasAttribute(name)) element.removeAttribute(name);
  for (const each of wanted.attributes) if (element.getAttribute(each.name) !== each.value) element.setAttribute(each.name, each.value);
  let next = element.firstChild;
  const removeUpTo = (end) => {
    while (next !== end) {
      const gone = next;
      next = next.nextSibling;
      gone.remove();
    }
  };
  for (const child of [...wanted.childNodes]) {
    let found = next;
    while (found && !isSame(found, child)) found = found.nextSibling;
    if (!found) {
      element.insertBefore(child, next);
      continue;
    }
    removeUpTo(found);
    if (found.nodeType === Node.ELEMENT_NODE) become(found, child);
    else if (found.data !== child.data) found.data = child.data;
    next = found.nextSibling;
  }
  removeUpTo(null);
  if (element.matches("input, select") && element.value !== value) element.value = value;
}

const $ = (id) => document.getElementById(id);

/** Says something to screen readers, and for a moment to everyone. */
function announce(text) {
  const live = $("said");
  live.textContent = text;
  live.classList.add("shown");
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => live.classList.remove("shown"), 2500);
}

async function copyText(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { "aria-hidden": "true", class: "away" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  announce(`${what} copied.`);
}

function download(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
