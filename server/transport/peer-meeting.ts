/**
 * Who is at the other end of a new connection. Both sides prove that they know the cell's secret, each by an HMAC over
 * everything that makes this meeting this one: both nonces (so that nothing recorded proves anything), the role (so that
 * a proof cannot be sent back to who made it), both names and incarnations, and the cell's name. The dialer proves first:
 * who merely connects is given nothing that was computed from the secret.
 *
 * Without a secret the key is a public one, and a meeting tells names and nothing else: allowed between processes of one
 * machine only. Nothing here encrypts what follows: between machines, `wss:` does.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { ERROR_CODES, type ErrorCodeName } from '../../shared/errors/codes.js'
import { CausewayError } from '../../shared/errors/error.js'
import { badMessage } from '../../shared/protocol/frame-reader.js'
import { OpWriter } from '../../shared/protocol/op-writer.js'
import { decodeGreeting, encodeGreeting, type Greeting } from '../../shared/protocol/peer-greeting.js'

/** A replica as a meeting knows it. */
export interface Party {
  readonly name: string
  /** 16 hex digits. */
  readonly incarnation: string
}

export interface MeetingOptions {
  readonly self: Party
  readonly cellName: string
  readonly secret: string | undefined
  /** 32 random bytes, for this meeting alone. */
  readonly nonce: Uint8Array
  /** Whom the dialer wants to reach; absent for the acceptor, who does not know. */
  readonly expected?: string
}

export interface MeetingStep {
  readonly reply?: Uint8Array
  /** The other side has proven the secret. The acceptor's own proof is still to be sent: `accept`. */
  readonly met?: Party
}

type Role = 'dialer' | 'acceptor'

const PUBLIC_KEY = 'causeway: a cell without a secret'
const PURPOSE = 'causeway peer link 1'

export class Meeting {
  private readonly options: MeetingOptions
  private readonly role: Role
  private readonly own: Greeting
  private theirs: Greeting | undefined
  private isMet = false

  constructor(options: MeetingOptions) {
    const { self, cellName, nonce } = options
    this.options = options
    this.role = options.expected === undefined ? 'acceptor' : 'dialer'
    this.own = { type: 'greeting', cell: cellName, name: self.name, incarnation: self.incarnation, nonce }
  }

  /** The dialer's first frame. */
  begin(): Uint8Array {
    return encodeGreeting(this.own)
  }

  /**
   * Takes a frame. Throws `protocol/bad-message`, `protocol/version-unsupported`; `cell/foreign` (another cell, or not
   * the replica that was dialled); `access/unauthenticated` (a wrong proof); and what the other side refused with.
   */
  receive(frame: Uint8Array): MeetingStep {
    const message = decodeGreeting(frame)
    if (this.isMet) throw badMessage('unexpected greeting')
    switch (message.type) {
      case 'greeting':
        return this.greeted(message)
      case 'proof':
        return this.proven(message.proof)
      case 'refusal':
        throw new Refused(message.code)
    }
  }

  /** The acceptor's last frame, once nothing stands against who was met. */
  accept(): Uint8Array {
    return this.proof('acceptor')
  }

  private greeted(theirs: Greeting): MeetingStep {
    if (this.theirs !== undefined) throw badMessage('unexpected greeting')
    const { cellName, expected } = this.options
    if (theirs.cell !== cellName) throw new CausewayError('cell/foreign', { ours: cellName, theirs: theirs.cell })
    if (expected !== undefined && theirs.name !== expected) {
      throw new CausewayError('cell/foreign', { expected, name: theirs.name })
    }
    this.theirs = theirs
    return { reply: this.role === 'dialer' ? this.proof('dialer') : this.begin() }
  }

  private proven(proof: Uint8Array): MeetingStep {
    const { theirs } = this
    if (theirs === undefined) throw badMessage('unexpected proof')
    const wanted = this.digest(this.role === 'dialer' ? 'acceptor' : 'dialer')
    if (!timingSafeEqual(wanted, proof)) throw new CausewayError('access/unauthenticated', { reason: 'wrong secret' })
    this.isMet = true
    return { met: { name: theirs.name, incarnation: theirs.incarnation } }
  }

  private proof(role: Role): Uint8Array {
    return encodeGreeting({ type: 'proof', proof: this.digest(role) })
  }

  private digest(role: Role): Buffer {
    const { own, theirs, options } = this
    const [dialer, acceptor] = this.role === 'dialer' ? [own, theirs] : [theirs, own]
    const out = new OpWriter()
    for (const text of [PURPOSE, role, options.cellName]) out.text(text)
    for (const party of [dialer, acceptor]) {
      if (party === undefined) throw badMessage('unexpected proof')
      out.text(party.name)
      out.text(party.incarnation)
      out.varBytes(party.nonce)
    }
    return createHmac('sha256', options.secret ?? PUBLIC_KEY)
      .update(out.view())
      .digest()
  }
}

/** The other side's refusal. Codes that we do not know are not repeated: they are a stranger's text. */
export class Refused extends CausewayError {
  constructor(code: string) {
    super(Object.hasOwn(ERROR_CODES, code) ? (code as ErrorCodeName) : 'protocol/bad-message', { by: 'peer' })
  }
}

export function refusalOf(code: ErrorCodeName): Uint8Array {
  return encodeGreeting({ type: 'refusal', code })
}
