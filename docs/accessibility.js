// What the theme adds to a page in the browser: its code buttons get names, and tables that scroll can be focused.
let blocks = 0
function complete() {
  document.querySelectorAll(".md-code__nav:not([aria-label])").forEach((nav) => {
    nav.setAttribute("aria-label", `Code block ${++blocks}`)
  })
  document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])").forEach((table) => {
    table.tabIndex = 0
  })
}
new MutationObserver(complete).observe(document.body, { childList: true, subtree: true })
complete()
