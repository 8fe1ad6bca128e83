/**
 * How Markdown looks while it is written: headings grow, marks step back, bullets become bullets. Every character stays
 * in place and can be edited; only classes are added, over the visible part of the text.
 */
import { syntaxTree } from '@codemirror/language'
import type { Extension, Range } from '@codemirror/state'
import { Decoration, type DecorationSet, type EditorView, ViewPlugin, type ViewUpdate } from '@codemirror/view'

/** Node of the syntax tree → class on its text. */
const TEXT_CLASSES: Readonly<Record<string, string>> = {
  HeaderMark: 'md-mark',
  EmphasisMark: 'md-mark',
  CodeMark: 'md-mark',
  LinkMark: 'md-mark',
  QuoteMark: 'md-mark',
  StrikethroughMark: 'md-mark',
  CodeInfo: 'md-mark',
  URL: 'md-url',
  ListMark: 'md-list-mark',
  TaskMarker: 'md-task',
  Emphasis: 'md-emphasis',
  StrongEmphasis: 'md-strong',
  Strikethrough: 'md-strike',
  InlineCode: 'md-code',
  Link: 'md-link',
  HorizontalRule: 'md-rule',
}

/** Node of the syntax tree → class on each of its lines. */
const LINE_CLASSES: Readonly<Record<string, string>> = {
  ATXHeading1: 'md-h1',
  ATXHeading2: 'md-h2',
  ATXHeading3: 'md-h3',
  ATXHeading4: 'md-h3',
  ATXHeading5: 'md-h3',
  ATXHeading6: 'md-h3',
  SetextHeading1: 'md-h1',
  SetextHeading2: 'md-h2',
  Blockquote: 'md-quote',
  FencedCode: 'md-code-line',
  CodeBlock: 'md-code-line',
  ListItem: 'md-item',
}

const textMarks = new Map(Object.entries(TEXT_CLASSES).map(([node, name]) => [node, Decoration.mark({ class: name })]))
const bulletMark = Decoration.mark({ class: 'md-list-mark md-bullet' })
const lineMarks = new Map(Object.entries(LINE_CLASSES).map(([node, name]) => [node, Decoration.line({ class: name })]))

export function markdownLook(): Extension {
  return ViewPlugin.fromClass(MarkdownLook, { decorations: (plugin) => plugin.decorations })
}

class MarkdownLook {
  decorations: DecorationSet

  constructor(view: EditorView) {
    this.decorations = decorate(view)
  }

  update(update: ViewUpdate): void {
    const parsedFurther = syntaxTree(update.state) !== syntaxTree(update.startState)
    if (update.docChanged || update.viewportChanged || parsedFurther) this.decorations = decorate(update.view)
  }
}

function decorate(view: EditorView): DecorationSet {
  const { doc } = view.state
  const ranges: Range<Decoration>[] = []
  for (const visible of view.visibleRanges) {
    syntaxTree(view.state).iterate({
      from: visible.from,
      to: visible.to,
      enter: (node) => {
        if (node.from === node.to) return
        const isBullet = node.name === 'ListMark' && node.to - node.from === 1
        const mark = isBullet ? bulletMark : textMarks.get(node.name)
        if (mark) ranges.push(mark.range(node.from, node.to))
        const lineMark = lineMarks.get(node.name)
        if (!lineMark) return
        const first = doc.lineAt(Math.max(node.from, visible.from)).number
        const last = doc.lineAt(Math.min(node.to, visible.to)).number
        for (let number = first; number <= last; number++) ranges.push(lineMark.range(doc.line(number).from))
      },
    })
  }
  return Decoration.set(ranges, true)
}
