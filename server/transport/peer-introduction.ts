/** A meeting on a socket: its frames, its deadline, and one outcome. */
import { AssertionError } from '../../shared/base/assert.js'
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import { type Meeting, type Party, Refused, refusalOf } from './peer-meeting.js'
import type { PeerSocket, PeerSocketUser } from './peer-socket.js'

export interface IntroductionOutcome {
  /** The other end has proven who it is. Whoever takes the socket over becomes its user. */
  met(party: Party, introduction: Introduction): void
  /** It came to nothing; the socket is closed. `error` is absent where the connection was only lost. */
  failed(error: CausewayError | undefined): void
}

export class Introduction implements PeerSocketUser {
  readonly socket: PeerSocket
  private readonly meeting: Meeting
  private readonly outcome: IntroductionOutcome
  private readonly deadlineMs: number

  constructor(socket: PeerSocket, meeting: Meeting, deadlineMs: number, outcome: IntroductionOutcome) {
    this.socket = socket
    this.meeting = meeting
    this.deadlineMs = deadlineMs
    this.outcome = outcome
    socket.user = this
  }

  /** By the dialer. */
  begin(): void {
    this.socket.write(this.meeting.begin())
  }

  /** By the acceptor: nothing stands against who was met. */
  accept(): void {
    this.socket.write(this.meeting.accept())
  }

  refuse(error: CausewayError): void {
    if (!(error instanceof Refused)) this.socket.write(refusalOf(error.code))
    this.socket.close(error)
  }

  tick(nowMs: number): void {
    if (nowMs >= this.deadlineMs) this.refuse(new CausewayError('protocol/timeout'))
  }

  received(frame: Buffer): void {
    try {
      const { reply, met } = this.meeting.receive(frame)
      if (reply !== undefined) this.socket.write(reply)
      if (met !== undefined) this.outcome.met(met, this)
    } catch (thrown) {
      if (thrown instanceof AssertionError) throw thrown
      this.refuse(asCausewayError(thrown))
    }
  }

  ended(error: CausewayError | undefined): void {
    this.outcome.failed(error)
  }
}
