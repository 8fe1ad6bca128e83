/** Histories of an honest room as fast-check draws and shrinks them. */
import fc from 'fast-check'
import type { Step } from './honest-room.js'

const step: fc.Arbitrary<Step> = fc.tuple(fc.nat(4), fc.nat(60), fc.nat(40), fc.nat(40), fc.nat(40))

export const steps = (maxLength = 60): fc.Arbitrary<Step[]> => fc.array(step, { maxLength, size: 'max' })
