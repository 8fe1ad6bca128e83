/** A whole state on its way from one store to another, for documents whose updates are texts. */
import { join } from 'node:path'
import type { LogStore } from '../../../server/storage/log-store.js'
import { type StateChunk, StateExport } from '../../../server/storage/state-export.js'
import type { StateContent } from '../../../server/storage/state-format.js'
import type { StoredDocument } from '../../../server/storage/stored-document.js'
import type { VersionVector } from '../../../shared/clock/version-vector.js'
import { textOf } from './op-source.js'

/** The words of a document, in order. */
export const textIn = (document: StoredDocument | undefined): string =>
  [document?.snapshot?.update ?? new Uint8Array(), ...(document?.tail ?? []).map(({ update }) => update)]
    .map(textOf)
    .join('')

/** Puts texts together as updates are. */
export function foldTexts(document: StoredDocument): StateContent {
  return { update: new TextEncoder().encode(textIn(document)), known: new TextEncoder().encode('known') }
}

export interface WholeState {
  readonly cut: VersionVector
  readonly chunks: readonly Uint8Array[]
}

export function openState(directory: string): StateExport {
  return StateExport.open(join(directory, 'causeway.db'), foldTexts)
}

export function takeState(directory: string): WholeState {
  const opened = openState(directory)
  try {
    const chunks: Uint8Array[] = []
    for (let chunk: StateChunk | undefined; !chunk?.isLast; ) {
      chunk = opened.chunk(chunks.length)
      chunks.push(chunk.bytes)
    }
    return { cut: opened.cut, chunks }
  } finally {
    opened.close()
  }
}

export function giveState(store: LogStore, { cut, chunks }: WholeState): ReturnType<LogStore['joinState']> {
  store.discardState()
  for (const [index, chunk] of chunks.entries()) store.storeChunk(index, chunk)
  return store.joinState(cut)
}
