// Adds what needs a script to a page: the address as this browser has it, and buttons that copy commands.

const status = document.createElement("p");
status.setAttribute("role", "status");
status.className = "unseen";
document.body.append(status);

for (const place of document.querySelectorAll("[data-origin]")) place.textContent = location.origin;

for (const block of document.querySelectorAll("pre[data-copy]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy the code");
  button.addEventListener("click", async () => {
    announce(button, (await copy(block.querySelector("code"))) ? "Copied" : "Press Ctrl+C");
  });
  const frame = document.createElement("div");
  frame.className = "code";
  block.replaceWith(frame);
  frame.append(block, button);
}

/** Copies the text of an element. The Clipboard API exists on https:// and localhost only. */
async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent.trimEnd());
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}

function announce(button, text) {
  button.textContent = text;
  status.textContent = text;
  clearTimeout(button.timer);
  button.timer = setTimeout(() => (button.textContent = "Copy"), 2000);
}
