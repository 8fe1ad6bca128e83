/** What the configuration says of relaying: apart from its schema, which a start need not load twice. */
import { spaceOf } from '../../shared/protocol/document-name.js'
import type { Config } from './config-schema.js'

/** Whether structs under somebody else's client id are refused in a document. */
export function deniesRelay({ spaces }: Config, document: string): boolean {
  return (ownEntry(spaces, spaceOf(document)) ?? ownEntry(spaces, '*'))?.relay === 'deny'
}

function ownEntry<Value>(record: Readonly<Record<string, Value>>, key: string): Value | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined
}
