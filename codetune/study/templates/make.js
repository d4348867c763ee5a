// An element with properties and children; whatever a model wrote goes in as text.
const make = (tag, options = {}, ...children) => {
  const { className, label, ...rest } = options;
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (label) node.setAttribute("aria-label", label);
  Object.assign(node, rest);
  node.append(...children.filter((child) => child !== null));
  return node;
};
