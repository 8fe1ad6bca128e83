/**
 * One replica of `causeway dev`: `causeway serve` in a process of its own, started again when it ends. A developer kills
 * one to see what the others do; so the first pause is long enough to see it, and each further one is longer.
 *
 *   starting → ready → (ends) → pausing → starting …        stopped, from each of them
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { get } from 'node:http'
import { createInterface } from 'node:readline'
import { ERROR_CODES, type ErrorCodeName } from '../../shared/errors/codes.js'
import { CausewayError, type ErrorDetails } from '../../shared/errors/error.js'
import { commandFile } from '../host/own-package.js'

const READY_POLL_MS = 50
const READY_TIMEOUT_MS = 2_000
const FIRST_PAUSE_MS = 1_000
const LONGEST_PAUSE_MS = 15_000
/** Who served for so long is not failing again and again. */
const STEADY_MS = 30_000
/** What is left of a drain that takes longer is not worth waiting for. */
const STOP_LIMIT_MS = 10_000
/** Of what a process said on standard error, its last part is kept. */
const ERRORS_LIMIT_CHARACTERS = 8_192

export interface MemberPlan {
  readonly name: string
  readonly port: number
  /** `http://127.0.0.1:4400`. */
  readonly url: string
  /** Arguments of `causeway serve`. */
  readonly args: readonly string[]
}

export interface MemberReport {
  /** A line that the process wrote, without its end. */
  line(text: string): void
  /** It ended though nobody asked for it, after it had been ready once. `how`: `SIGKILL`, or `exit code 1`. */
  ended(member: DevMember, how: string, pauseMs: number): void
  /** It is ready again. */
  returned(member: DevMember): void
}

export class DevMember {
  readonly plan: MemberPlan
  private readonly env: NodeJS.ProcessEnv
  private readonly report: MemberReport
  private life: Life | undefined
  private pause: NodeJS.Timeout | undefined
  private pauseMs = FIRST_PAUSE_MS
  private wasReady = false
  private isStopped = false

  constructor(plan: MemberPlan, env: NodeJS.ProcessEnv, report: MemberReport) {
    this.plan = plan
    this.env = env
    this.report = report
  }

  /** Of the process that runs now; undefined in a pause. */
  get pid(): number | undefined {
    return this.life?.child.pid
  }

  /**
   * Resolves when the replica is ready for the first time. Rejects when its process ends before: with the error that it
   * told, where it told one. From then on it is started again whenever it ends.
   */
  async start(): Promise<void> {
    const life = this.spawn()
    if (!(await this.becomesReady(life))) throw endOf(life, this.plan.name)
    this.wasReady = true
  }

  /** Ends the process, by force where it takes too long; resolves when it has gone. */
  async stop(): Promise<void> {
    this.isStopped = true
    clearTimeout(this.pause)
    const { life } = this
    if (life === undefined) return
    life.child.kill('SIGTERM')
    const late = setTimeout(() => life.child.kill('SIGKILL'), STOP_LIMIT_MS)
    await life.over
    clearTimeout(late)
  }

  /** Ends the process at once. */
  kill(): void {
    this.isStopped = true
    this.life?.child.kill('SIGKILL')
  }

  private spawn(): Life {
    const args = [...process.execArgv.filter((arg) => !arg.startsWith('--inspect')), commandFile(), ...this.plan.args]
    const child = spawn(process.execPath, args, {
      // The channel tells the child of our end, however we end. A group of its own: Ctrl-C is for us, who end it in order.
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: true,
      windowsHide: true,
      env: this.env,
    })
    const over = new Promise<void>((resolve) => child.once('error', () => resolve()).once('close', () => resolve()))
    const life: Life = { child, over, errors: '', isListening: false, readyAtMs: Number.POSITIVE_INFINITY }
    this.life = life
    createInterface({ input: child.stdout! }).on('line', (line) => {
      if (!life.isListening && line.startsWith('{"event":"ready"')) life.isListening = true
      else this.report.line(line)
    })
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      life.errors = (life.errors + text).slice(-ERRORS_LIMIT_CHARACTERS)
    })
    void over.then(() => this.ended(life))
    return life
  }

  /** Resolves to whether it became ready; if not, it has ended. */
  private async becomesReady(life: Life): Promise<boolean> {
    // Before it has said so, somebody else may answer at its address.
    while (this.life === life && !(life.isListening && (await isReady(this.plan.url)))) {
      await Promise.race([life.over, new Promise((resolve) => setTimeout(resolve, READY_POLL_MS))])
    }
    life.readyAtMs = performance.now()
    return this.life === life
  }

  private ended(life: Life): void {
    this.life = undefined
    // What ends the first start is told by who asked for it.
    if (this.isStopped || !this.wasReady) return
    if (life.errors !== '') this.report.line(life.errors.trimEnd())
    if (performance.now() - life.readyAtMs > STEADY_MS) this.pauseMs = FIRST_PAUSE_MS
    const { pauseMs } = this
    this.pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)
    this.report.ended(this, howItEnded(life.child), pauseMs)
    this.pause = setTimeout(() => void this.again(), pauseMs)
  }

  private async again(): Promise<void> {
    if (await this.becomesReady(this.spawn())) this.report.returned(this)
  }
}

/** A process, from its start to its end. */
interface Life {
  readonly child: ChildProcess
  /** Resolves when it has ended and all that it wrote was read. */
  readonly over: Promise<void>
  /** What it wrote on standard error. */
  errors: string
  isListening: boolean
  readyAtMs: number
}

function howItEnded({ exitCode, signalCode }: ChildProcess): string {
  return signalCode ?? `exit code ${exitCode}`
}

/** Why a process ended, in its own words where they are an error of ours. */
function endOf({ child, errors }: Life, name: string): CausewayError {
  const told = readError(errors)
  if (told !== undefined) return told
  const message = `Replica ${name} ended (${howItEnded(child)}) before it was ready.${errors === '' ? '' : `\n${errors}`}`
  return new CausewayError('internal/failure', { replica: name }, { message: message.trimEnd() })
}

/** The error that a command prints with `--json`, in the last line. */
function readError(errors: string): CausewayError | undefined {
  try {
    const { error } = JSON.parse(errors.trimEnd().split('\n').at(-1)!) as {
      error: { code: ErrorCodeName; message: string; details: ErrorDetails }
    }
    return error.code in ERROR_CODES
      ? new CausewayError(error.code, error.details, { message: error.message })
      : undefined
  } catch {
    return undefined
  }
}

/** Whether `/readyz` answers 200 now. */
function isReady(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get(`${url}/readyz`, { agent: false, timeout: READY_TIMEOUT_MS }, (response) => {
      response.resume().on('error', () => {})
      resolve(response.statusCode === 200)
    })
    request.on('timeout', () => request.destroy())
    request.on('error', () => resolve(false))
  })
}
