/**
 * A second, independent memory of how long the log was. When frames of SQLite's write-ahead log are lost (a cut file, a
 * flipped bit, an old copy put in its place), SQLite finds a shorter log and calls it whole. So after every commit the
 * new length is written to a file beside it, without waiting for the disk: after a crash of the process it is exact,
 * after power loss it may lag behind and then shows nothing. A log shorter than its witness lost acknowledged ops.
 *
 * 44 bytes, overwritten in place: magic and version (4), birth of the database (16), position (8), zeros (12), CRC (4).
 */
import { closeSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs'
import { crc32 } from 'node:zlib'

const MAGIC = Buffer.from([0x43, 0x57, 0x57, 1])
const SIZE_BYTES = 44
const BIRTH_AT = 4
const POSITION_AT = 20
const CHECKSUM_AT = 40

export class Witness {
  private readonly file: number
  private readonly buffer = Buffer.alloc(SIZE_BYTES)
  private isUsable = true
  /** The position it remembers for this database; 0 where it knows none. */
  readonly remembered: number

  /** `birth`: 16 bytes that tell one database from another. Throws what the file system throws. */
  constructor(path: string, birth: Uint8Array) {
    // Not 'w+', which would empty it; 'a+' could not overwrite in place.
    closeSync(openSync(path, 'a'))
    this.file = openSync(path, 'r+')
    this.remembered = this.read(birth)
    MAGIC.copy(this.buffer)
    this.buffer.set(birth, BIRTH_AT)
  }

  /** Notes that everything up to `position` is durable. A failure only ends the witness: the commit itself stands. */
  note(position: number): void {
    if (!this.isUsable) return
    this.buffer.writeDoubleLE(position, POSITION_AT)
    this.buffer.writeUInt32LE(crc32(this.buffer.subarray(0, CHECKSUM_AT)), CHECKSUM_AT)
    try {
      writeSync(this.file, this.buffer, 0, SIZE_BYTES, 0)
    } catch {
      this.isUsable = false
    }
  }

  close(): void {
    try {
      if (this.isUsable) fsyncSync(this.file)
    } catch {
      this.isUsable = false
    }
    closeSync(this.file)
  }

  private read(birth: Uint8Array): number {
    const stored = Buffer.alloc(SIZE_BYTES)
    if (readSync(this.file, stored, 0, SIZE_BYTES, 0) < SIZE_BYTES) return 0
    if (crc32(stored.subarray(0, CHECKSUM_AT)) !== stored.readUInt32LE(CHECKSUM_AT)) return 0
    if (!stored.subarray(0, 4).equals(MAGIC) || !stored.subarray(BIRTH_AT, POSITION_AT).equals(birth)) return 0
    return stored.readDoubleLE(POSITION_AT)
  }
}
