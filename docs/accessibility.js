// What the theme adds to a page in the browser: its code buttons get names, and tables and code that scroll can be focused.
// The theme itself lets code be focused only where there is a mouse.
let blocks = 0
function complete() {
  document.querySelectorAll(".md-code__nav:not([aria-label])").forEach((nav) => {
    nav.setAttribute("aria-label", `Code block ${++blocks}`)
  })
  document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])").forEach((table) => {
    table.tabIndex = 0
  })
  document.querySelectorAll("pre > code:not([tabindex])").forEach((code) => {
    if (code.scrollWidth > code.clientWidth) code.tabIndex = 0
  })
}
new MutationObserver(complete).observe(document.body, { childList: true, subtree: true, attributeFilter: ["tabindex"] })
window.addEventListener("resize", complete)
complete()
