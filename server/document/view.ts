/**
 * A document as plain JSON, per root. A root's kind is what its content shows (`root-kind.ts`) unless the caller names
 * it: `text` a string, `map` an object, `array` an array, `xml` a string of XML, `prosemirror` the editor's JSON. Types
 * inside know their kind. Texts, also those inside XML, lose their formats unless the XML or the editor's form shows
 * them; `json-text.ts` says how values look that JSON does not have; a sub-document is `{"guid": …}`.
 */
import { unreachable } from '../../shared/base/assert.js'
import { type DocumentState, deeper, type ViewKind } from './document-state.js'
import { plainText } from './formatted-text.js'
import { BoundedText, VIEW_LIMIT_CODE_UNITS, writeArray, writeObject, writeValue } from './json-text.js'
import { loadDocument } from './load.js'
import { writeProsemirror } from './prosemirror.js'
import { rootKind } from './root-kind.js'
import { listUnits, mapUnits, type Unit } from './unit.js'
import { writeXml } from './xml-text.js'
import { kindOf, type SharedType } from './yjs-internals.js'

/**
 * The JSON text of `{root: value}`, roots and map keys sorted. `types` names kinds of roots; a root named there that the
 * document does not have reads as empty. A root that lost all its content and shows no kind reads as `[]`. Throws
 * `document/too-expensive` beyond `limit` UTF-16 code units and beyond `NESTING_LIMIT`.
 */
export function view(
  state: DocumentState,
  types: Readonly<Record<string, ViewKind>> = {},
  limit: number = VIEW_LIMIT_CODE_UNITS,
): string {
  const doc = loadDocument(state)
  const kinds = new Map(Object.entries(types))
  const names = new Set([...doc.share.keys(), ...kinds.keys()])
  const roots = [...names].sort().map((name) => [name, doc.get(name)] as const)
  const out = new BoundedText(limit)
  writeObject(out, roots, (root, name) => writeAs(out, root, kinds.get(name) ?? rootKind(root) ?? 'array', 0))
  return out.toString()
}

function writeAs(out: BoundedText, type: SharedType, kind: ViewKind, depth: number): void {
  switch (kind) {
    case 'text':
      writeValue(out, plainText(type), depth)
      break
    case 'map':
      writeObject(out, mapUnits(type).filter(isShown), (unit) => writeUnit(out, unit, deeper(depth)))
      break
    case 'array':
      writeArray(out, listUnits(type), (unit) => writeUnit(out, unit, deeper(depth)))
      break
    case 'prosemirror':
      writeProsemirror(out, type)
      break
    case 'xml': {
      const xml = new BoundedText(out.room)
      writeXml(xml, type, depth)
      writeValue(out, xml.toString(), depth)
      break
    }
    default:
      unreachable(kind)
  }
}

function writeUnit(out: BoundedText, unit: Unit, depth: number): void {
  if (unit.type === 'value') writeValue(out, unit.value, depth)
  else if (unit.type === 'shared') writeAs(out, unit.shared, nestedKind(unit.shared), depth)
  else writeObject(out, [['guid', unit.guid]], (guid) => writeValue(out, guid, depth))
}

function nestedKind(type: SharedType): ViewKind {
  const kind = kindOf(type)
  if (kind === 'map' || kind === 'text' || kind === 'array') return kind
  return 'xml'
}

/** As in JSON, a key whose value is undefined is not there. */
function isShown([, unit]: readonly [string, Unit]): boolean {
  return !(unit.type === 'value' && unit.value === undefined)
}
