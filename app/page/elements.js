// @ts-check
// Finds and makes elements. Elements that a script uses are marked data-lt="NAME".

/**
 * Find the element marked `data-lt="name"`; throws an Error if it is not there or of another kind.
 *
 * @template {HTMLElement} T
 * @param {ParentNode} root
 * @param {string} name
 * @param {new () => T} kind class of the element, such as HTMLButtonElement
 * @returns {T}
 */
export function part(root, name, kind) {
  const found = root.querySelector(`[data-lt=${name}]`);
  if (found instanceof kind) return found;
  throw new Error(`the page has no ${kind.name} that is marked ${name}`);
}

/**
 * Make an element with these properties and children.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Partial<HTMLElementTagNameMap[Tag]>} properties
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/**
 * Show a text; `bad` marks it as a failure.
 *
 * @param {HTMLElement} element
 * @param {string} text
 */
export function show(element, text, bad = false) {
  element.textContent = text;
  element.classList.toggle("bad", bad);
}
