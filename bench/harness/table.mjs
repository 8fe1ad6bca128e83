// Plain tables for a terminal, which are also valid Markdown.

/** @param rows arrays of strings; the first column is aligned left, the others right */
export function table(heads, rows) {
  const widths = heads.map((head, column) => Math.max(head.length, ...rows.map((row) => row[column].length)))
  const line = (cells) =>
    `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))).join(' | ')} |`
  const rule = `|${widths.map((width, column) => (column === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`
  return [line(heads), rule, ...rows.map(line)].join('\n')
}

/** Three significant digits, thousands in groups. */
export function number(value) {
  if (value === undefined || Number.isNaN(value)) return '-'
  if (value === 0) return '0'
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))))
  return value.toLocaleString('en-US', { maximumFractionDigits: Math.min(digits, 3) })
}

/** `min / median / max`, or the one value where all rounds agree. */
export function spreadText(spread) {
  if (!spread) return '-'
  const texts = [spread.min, spread.median, spread.max].map(number)
  return texts[0] === texts[2] ? texts[1] : texts.join(' / ')
}
