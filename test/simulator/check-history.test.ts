import { describe, expect, test } from 'vitest'
import { CHECKERS, type CheckedInvariant, checkHistory } from './check-history.js'
import { historyOf } from './history-text.js'

/** What the checker of one invariant says; the others have their own histories. */
const findings = (invariant: CheckedInvariant, text: string): string[] =>
  checkHistory(historyOf(text), [invariant]).map(({ says }) => says)

const WRITE_1 = 's > w1 x\n s < w1'
const WRITE_2 = 't > w2 x\n t < w2'

const histories: Record<
  CheckedInvariant,
  { readonly good: Record<string, string>; readonly bad: Record<string, string> }
> = {
  I1: {
    good: {
      'an op is the same everywhere': 'a accept a:1 w1 x\n a deliver a:1\n b deliver a:1',
      'a life goes on where the one before ended':
        "a accept a:1 w1 x\n a accept a':2 open a:1 / a:1\n a accept a':3 w2 x",
      'a dot whose commit failed is used again': 'a accept a:1 w1 x #one\n a withdraw a:1\n a accept a:1 w2 x #two',
      'a life on an old backup branches off': "a accept a:1 w1 x\n a accept a:2 w2 x\n a accept a':2 open a:1 / a:1",
    },
    bad: {
      'a dot is withdrawn that others know': 'a accept a:1 w1 x\n a send b a:1\n a withdraw a:1',
      'one dot names two ops': 'a accept a:1 w1 x\n b deliver a:1 #other',
      'a dot is used again after a restore':
        'a accept a:1 w1 x #one\n a disk restored\n a start a\n a accept a:1 w2 x #two',
      'the same op is accepted twice': 'a accept a:1 w1 x\n a accept a:1 w1 x',
      'a seq is left out': 'a accept a:1 w1 x\n a accept a:3 w2 x',
      'a life begins too late': "a accept a:1 w1 x\n a accept a':3 open a:1 / a:1",
      'nobody accepted it': 'b deliver a:1',
    },
  },
  I2: {
    good: {
      'causes first':
        'a accept a:1 w1 x\n a deliver a:1\n b deliver a:1\n b accept b:1 w2 x / a:1\n c deliver a:1\n c deliver b:1',
      'a folded entry is implied':
        "a accept a:1 w1 x\n a deliver a:1\n a accept a':2 open a:1 / a:1\n a deliver a':2\n b deliver a:1\n b deliver a':2\n b accept b:1 w2 x / a':2",
      'what is on its way to the log comes before what is accepted after it':
        'a accept a:1 w1 x\n a deliver a:1\n b taken a:1\n b accept b:1 w2 x / a:1\n b deliver a:1\n b deliver b:1',
      'what was on its way and is gone again counts no more':
        'a accept a:1 w1 x\n a deliver a:1\n b taken a:1\n b rewound\n b accept b:1 w2 x\n b deliver b:1',
      'state transfer brings causes':
        'a accept a:1 w1 x\n a deliver a:1\n a accept a:2 w2 x\n a deliver a:2\n b install 1 / a:1\n b deliver a:2',
      'a start has what its disk has':
        'a accept a:1 w1 x\n a deliver a:1\n b deliver a:1\n b start b / a:1\n b accept b:1 w2 x / a:1',
    },
    bad: {
      'an op before its cause':
        'a accept a:1 w1 x\n a deliver a:1\n b deliver a:1\n b accept b:1 w2 x / a:1\n c deliver b:1',
      'an op before the one before it': 'a accept a:1 w1 x\n a deliver a:1\n a accept a:2 w2 x\n b deliver a:2',
      'an op twice': 'a accept a:1 w1 x\n b deliver a:1\n b deliver a:1',
      'an op that forgets what its acceptor had': 'a accept a:1 w1 x\n b deliver a:1\n b accept b:1 w2 x',
      'an op that forgets what is on its way to the log':
        'a accept a:1 w1 x\n a deliver a:1\n b taken a:1\n b accept b:1 w2 x',
      'an op that claims what is gone again':
        'a accept a:1 w1 x\n a deliver a:1\n b taken a:1\n b rewound\n b accept b:1 w2 x / a:1',
      'an op that claims what its acceptor lacked': 'a accept a:1 w1 x\n b accept b:1 w2 x / a:1',
      'an op after a restore that lacks its cause':
        'a accept a:1 w1 x\n a deliver a:1\n b deliver a:1\n b accept b:1 w2 x / a:1\n c deliver a:1\n c start c\n c deliver b:1',
    },
  },
  I3: {
    good: {
      'on disk, then shown':
        'a accept a:1 w1 x\n a durable / a:1\n a send b a:1\n b durable / a:1\n b serve x=1 / a:1\n a ack w1 local / a:1',
      'lost with its disk, and others show it':
        'a accept a:1 w1 x\n a durable / a:1\n a send b a:1\n a disk lost\n a start a\n b durable / a:1\n b serve x=1 / a:1',
      'what a life before left is shown by the next':
        "a durable / a:1\n a crash\n a start a' / a:1\n a serve x=1 / a:1",
    },
    bad: {
      'sent before its commit': 'a accept a:1 w1 x\n a send b a:1\n a durable / a:1',
      'served before its commit': 'a accept a:1 w1 x\n a serve x=1 / a:1\n a durable / a:1',
      'acknowledged before its commit': 'a accept a:1 w1 x\n a ack w1 local / a:1\n a durable / a:1',
      'delivered before the commit of the receiver': 'a durable / a:1\n b deliver a:1',
      'on disk here, never there': 'a accept a:1 w1 x\n b durable / a:1\n b serve x=1 / a:1',
      'forgotten by a disk that is well': "a durable / a:1\n a crash\n a start a'",
      'served from before a restore': "a durable / a:1\n a disk restored\n a start a'\n a serve x=1 / a:1",
    },
  },
  I4: {
    good: {
      'exactly what the clock covers':
        'a accept a:1 w1 x y\n a accept a:2 w2 y\n a serve x=1 y=1 / a:1\n a serve x=1 y=1,2 / a:2',
      'a write offered twice is one':
        'a accept a:1 w1 x\n b accept b:1 w1 x\n c serve x=1 / a:1 b:1\n c serve x=1 / b:1',
      'a folded clock covers the life before': "a accept a:1 w1 x\n a accept a':2 open a:1 / a:1\n a serve x=1 / a':2",
    },
    bad: {
      'more than the clock': 'a accept a:1 w1 x\n a accept a:2 w2 x\n a serve x=1,2 / a:1',
      'less than the clock': 'a accept a:1 w1 x\n a accept a:2 w2 x\n a serve x=1 / a:2',
      'half of an op': 'a accept a:1 w1 x y\n a serve x=1 y= / a:1',
      'a write twice': 'a accept a:1 w1 x\n a serve x=1,1 / a:1',
    },
  },
  I5: {
    good: {
      'own writes are read': `${WRITE_1}\n s > r1 x\n s < r1 x=1`,
      'a write without an answer may be missing': 's > w1 x\n s > r1 x\n s < r1 x=\n s < w1',
      'a write answered during the read may be missing': 's > w1 x\n s > r1 x\n s < w1\n s < r1 x=',
      'after a mark all begins anew': `${WRITE_1}\n s ~ degraded\n s > r1 x\n s < r1 x=`,
      'an eventual read promises nothing': `${WRITE_1}\n s > r1 x eventual\n s < r1 x=`,
      'a refused write is none': 's > w1 x\n s ! w1\n s > r1 x\n s < r1 x=',
    },
    bad: {
      'an own write is missing': `${WRITE_1}\n s > r1 x\n s < r1 x=`,
      'the second of two is missing': `${WRITE_1}\n s > w2 x\n s < w2\n s > r1 x\n s < r1 x=1`,
      'missing in one of two documents': 's > w1 x y\n s < w1\n s > r1 x y\n s < r1 x=1 y=',
    },
  },
  I6: {
    good: {
      'reads grow': `${WRITE_1}\n t > r1 x\n t < r1 x=1\n t > r2 x\n t < r2 x=1`,
      'overlapping reads may return in any order': `${WRITE_1}\n t > r1 x\n t > r2 x\n t < r1 x=1\n t < r2 x=`,
      'different sessions may differ': `${WRITE_1}\n t > r1 x\n t < r1 x=1\n u > r2 x\n u < r2 x=`,
    },
    bad: {
      'a read forgets': `${WRITE_1}\n t > r1 x\n t < r1 x=1\n t > r2 x\n t < r2 x=`,
      'a read forgets one of several': `${WRITE_1}\n ${WRITE_2}\n u > r1 x\n u < r1 x=1,2\n u > r2 x\n u < r2 x=2`,
    },
  },
  I7: {
    good: {
      'both or the first':
        's > w1 x\n s < w1\n s > w2 y\n s < w2\n t > r1 x y\n t < r1 x=1 y=\n t > r2 x y\n t < r2 x=1 y=2',
      'an unknown write that nobody saw may have failed':
        's > w1 x\n s ? w1\n s > w2 y\n s < w2\n t > r1 x y\n t < r1 x= y=2',
    },
    bad: {
      'the second without the first, in one read': 's > w1 x\n s < w1\n s > w2 y\n s < w2\n t > r1 x y\n t < r1 x= y=2',
      'the second without the first, later':
        's > w1 x\n s < w1\n s > w2 y\n s < w2\n t > r1 y\n t < r1 y=2\n t > r2 x\n t < r2 x=',
      'an unknown write that was seen by others':
        's > w1 x\n s ? w1\n s > w2 y\n s < w2\n u > r3 x\n u < r3 x=1\n t > r1 x y\n t < r1 x= y=2',
    },
  },
  I8: {
    good: {
      'the read one is there': `${WRITE_1}\n t > r1 x\n t < r1 x=1\n t > w2 y\n t < w2\n u > r2 x y\n u < r2 x=1 y=2`,
      'an unsaved write is made anew, and what it followed died with a disk': `${WRITE_1}\n t > r1 x\n t < r1 x=1\n t > w2 y\n t < w2\n t ~ degraded\n u > r2 x y\n u < r2 x= y=2`,
      'a write made before the read follows nothing': `${WRITE_1}\n t > w2 y\n t < w2\n t > r1 x\n t < r1 x=1\n u > r2 x y\n u < r2 x= y=2`,
    },
    bad: {
      'the read one is missing': `${WRITE_1}\n t > r1 x\n t < r1 x=1\n t > w2 y\n t < w2\n u > r2 x y\n u < r2 x= y=2`,
      'the read one is missing, and a mark excuses no saved write': `${WRITE_1}\n t > r1 x\n t < r1 x=1\n t > w2 y\n t < w2\n t + w2\n t ~ degraded\n u > r2 x y\n u < r2 x= y=2`,
      'the read one is missing, later': `${WRITE_1}\n t > r1 x\n t < r1 x=1\n t > w2 y\n t < w2\n u > r2 y\n u < r2 y=2\n u > r3 x\n u < r3 x=`,
    },
  },
  I9: {
    good: {
      'concurrent writes in any order': `${WRITE_1}\n ${WRITE_2}\n u > r1 x\n u < r1 x=1\n v > r2 x\n v < r2 x=2`,
      'a read that returns a write before it is invoked elsewhere, clocks being off': `u > r1 x\n u < r1 x=1\n ${WRITE_1}`,
    },
    bad: {
      'a chain over three sessions': `${WRITE_1}\n t > r1 x\n t < r1 x=1\n t > w2 y\n t < w2\n u > r2 y\n u < r2 y=2\n u > w3 z\n u < w3\n v > r3 z x\n v < r3 z=3 x=`,
      'out of thin air': 's > r1 x\n s < r1 x=9',
      'a cycle': 's > r1 x\n s < r1 x=2\n s > w1 x\n s < w1\n t > r2 x\n t < r2 x=1\n t > w2 x\n t < w2',
      'a register shows what the set lacks': 's > w1 x x#k\n s < w1\n t > r1 x\n t < r1 x= x#k=1',
    },
  },
  I10: {
    good: {
      'the later of two': 's > w1 x x#k\n s < w1\n s > w2 x x#k\n s < w2\n t > r1 x\n t < r1 x=1,2 x#k=2',
      'a write that was made again may stand anywhere':
        's > w1 x x#k\n s < w1\n s ~ degraded 1\n s > w2 x x#k\n s < w2\n t > r1 x\n t < r1 x=1,2 x#k=1',
      'one of two concurrent ones, the same for all':
        's > w1 x x#k\n s < w1\n t > w2 x x#k\n t < w2\n u > r1 x\n u < r1 x=1,2 x#k=1\n v > r2 x\n v < r2 x=1,2 x#k=1',
    },
    bad: {
      'an overwritten value': 's > w1 x x#k\n s < w1\n s > w2 x x#k\n s < w2\n t > r1 x\n t < r1 x=1,2 x#k=1',
      'nothing, though it was set': 's > w1 x x#k\n s < w1\n t > r1 x\n t < r1 x=1',
      'concurrent ones in two orders':
        's > w1 x x#k\n s < w1\n t > w2 x x#k\n t < w2\n u > r1 x\n u < r1 x=1,2 x#k=1\n v > r2 x\n v < r2 x=1,2 x#k=2',
      'an order that turns round':
        's > w1 x x#k\n s < w1\n t > w2 x x#k\n t < w2\n u > r1 x\n u < r1 x=1,2 x#k=1\n u > r2 x\n u < r2 x=1,2 x#k=2',
    },
  },
  I11: {
    good: {
      'same ops, same content': 'a print x d1 f1\n b print x d1 f1\n b print x d2 f2',
      'all end alike': `${WRITE_1}\n s > w2 x\n s ? w2\n a settled 1,2 0 / a:2\n b settled 2,1 0 / a:2`,
      'clocks are compared unfolded': "a accept a':2 open a:1 / a:1\n a settled - 0 / a':2\n b settled - 0 / a:1 a':2",
    },
    bad: {
      'same ops, other content': 'a print x d1 f1\n b print x d1 f2',
      'other clocks, the first behind': 'a settled - 0 / a:1\n b settled - 0 / a:2',
      'other clocks': 'a settled - 0 / a:2\n b settled - 0 / a:1',
      'other writes': `${WRITE_1}\n a settled 1 0 / a:1\n b settled - 0 / a:1`,
      'a refused write': 's > w1 x\n s ! w1\n a settled 1 0 / a:1',
      'a write of nobody': 'a settled 1 0 / a:1',
    },
  },
  I12: {
    good: {
      'all acknowledged ones are there': `${WRITE_1}\n a settled 1 0 / a:1`,
      'a dead client, a lost disk, one copy': `${WRITE_1}\n s gone\n a disk lost\n a settled - 0 / a:1`,
      'saved, and then two disks of three at once': `${WRITE_1}\n s + w1\n s gone\n a disk lost\n b disk lost\n a settled - 0 / a:1`,
    },
    bad: {
      'saved by a majority': `${WRITE_1}\n s + w1\n s gone\n a disk lost\n a settled - 0 / a:1`,
      'saved, two disks lost one after the other': `${WRITE_1}\n s + w1\n s gone\n a disk lost\n a recovered\n b disk lost\n a settled - 0 / a:1`,
      'no disk was lost': `${WRITE_1}\n s gone\n a settled - 0 / a:1`,
      'its client lives': `${WRITE_1}\n a disk lost\n a settled - 0 / a:1`,
      'saved after two disks were lost': `a disk lost\n b disk lost\n ${WRITE_1}\n s + w1\n s gone\n a settled - 0 / a:1`,
    },
  },
  I13: {
    good: {
      'answered in time': '@0 s > r1 x within500\n @1400 s < r1 x=\n a settled - 0 / a:1',
      'unknown is an answer': 's > w1 x\n s ? w1\n a settled - 0 / a:1',
      'the dead need none': 's > w1 x\n s gone\n a settled - 0 / a:1',
    },
    bad: {
      'answered too late': '@0 s > r1 x within500\n @1600 s < r1 x=',
      'never answered': 's > w1 x\n a settled - 0 / a:1',
      'an op waits for ever': 'a settled - 1 / a:1',
      'an outbox is never empty': 's settled 1',
    },
  },
  I15: {
    good: {
      'the entry first':
        'a coordinate coord:1 e1\n a accept a:1 w1 x / coord:1\n b coordinate coord:1 e1\n b deliver a:1',
    },
    bad: {
      'the op first': 'a coordinate coord:1 e1\n a accept a:1 w1 x / coord:1\n b deliver a:1',
      'another entry': 'a coordinate coord:1 e1\n b coordinate coord:1 e2',
      'an entry is left out': 'a coordinate coord:2 e2',
    },
  },
  I16: {
    good: {
      'on two disks, then proposed': 'a durable / a:1\n b durable / a:1\n a propose k / a:1',
      'what preceded the claim is there': 's > d1 k\n s < d1 t a:1 / b:1\n s > r1 x\n s < r1 x= / a:1 b:1',
      'told that it is not': 's > d1 k\n s < d1 t a:1 / b:1\n s ~ degraded\n s > r1 x\n s < r1 x= / b:1',
      'a write that a mark overtook': 's > d1 k\n s < d1 t a:1 / b:1\n s > w1 x\n s ~ degraded\n s < w1 / b:1',
      'an unowned key has no past': 's > d1 k\n s < d1 / b:1\n s > r1 x\n s < r1 x= / b:1',
    },
    bad: {
      'on one disk only': 'a durable / a:1\n a propose k / a:1',
      'an answer without what preceded the claim': 's > d1 k\n s < d1 t a:1 / b:1\n s > r1 x\n s < r1 x= / b:1',
      'a write likewise': 's > d1 k\n s < d1 t a:1 / b:1\n s > w1 x\n s < w1 / b:1',
    },
  },
  I17: {
    good: {
      'on two of three': 'a durable / a:1\n b durable / a:1\n c cut / a:1',
      'lost afterwards': 'a durable / a:1\n b durable / a:1\n b disk lost\n b start b\n c cut / a:1',
      'with its causes':
        'a accept a:1 w1 x\n b accept b:1 w2 x / a:1\n a durable / a:1 b:1\n b durable / a:1 b:1\n c cut / a:1 b:1',
    },
    bad: {
      'on one of three': 'a durable / a:1\n c cut / a:1',
      'on two of five': 'a members a b c d e\n a durable / a:1\n b durable / a:1\n c cut / a:1',
      'on a stranger': 'a durable / a:1\n z durable / a:1\n c cut / a:1',
      'without its cause':
        'a accept a:1 w1 x\n b accept b:1 w2 x / a:1\n a durable / a:1 b:1\n b durable / a:1 b:1\n c cut / b:1',
    },
  },
  I18: {
    good: {
      'below the cut': 'a cut / a:3\n a truncate a:3',
      'asked and got': 'a accept a:1 w1 x\n b need a a:1\n b deliver a:1\n b settled 1 0 / a:1',
      'asked and got by state transfer': 'b need a a:1\n b install 1 / a:1\n b settled 1 0 / a:1',
      'asked for what died with its disk': 'b need a a:1\n a disk lost\n b settled - 0 / b:1',
      'asked, died, and has it': 'b need a a:1\n b start b / a:1\n b settled 1 0 / a:1',
      'state transfer adds': 'a accept a:1 w1 x\n b accept b:1 w2 x\n b deliver b:1\n b install 1,2 / a:1 b:1',
    },
    bad: {
      'above the cut': 'a cut / a:3\n a truncate a:4',
      'below the cut of another': 'b cut / a:3\n a truncate a:3',
      'asked and never got': 'b need a a:1\n b settled - 0 / b:1',
      'asked and never got what another has': 'b need a a:1\n a disk lost\n b settled - 0 / b:1\n c settled - 0 / a:1',
      'state transfer lowers a clock': 'b accept b:1 w2 x\n b deliver b:1\n b install 1,2 / a:1',
      'state transfer removes a write': 'b accept b:1 w2 x\n b deliver b:1\n b install 1 / a:1 b:1',
    },
  },
  I19: {
    good: { 'nothing waits': 'a accept a:1 w1 x\n a deliver a:1' },
    bad: { 'structs wait': 'a pending x 1 0', 'deletes wait': 'a pending x 0 1' },
  },
  I20: {
    good: {
      'a saved write is there': `${WRITE_1}\n s + w1\n t > r1 x fresh\n t < r1 x=1`,
      'saved during the read': `${WRITE_1}\n t > r1 x fresh\n s + w1\n t < r1 x=`,
      'not saved': `${WRITE_1}\n t > r1 x fresh\n t < r1 x=`,
      'other reads need not be fresh': `${WRITE_1}\n s + w1\n t > r1 x\n t < r1 x=`,
    },
    bad: {
      'a saved write is missing': `${WRITE_1}\n s + w1\n t > r1 x fresh\n t < r1 x=`,
      'what a fresh read showed is missing': `${WRITE_1}\n t > r1 x fresh\n t < r1 x=1\n u > r2 x fresh\n u < r2 x=`,
    },
  },
  I21: {
    good: {
      'on the token': 's > r1 x\n s < r1 x= / a:2 b:1 / a:2',
      'a refusal': 's > r1 x\n s ! r1',
      'an eventual read': 's > r1 x eventual\n s < r1 x= / a:1 / a:2',
      'a token of a folded life': "a accept a':2 open a:1 / a:1\n s > r1 x\n s < r1 x= / a':2 / a:1",
    },
    bad: {
      'on less': 's > r1 x\n s < r1 x= / a:1 / a:2',
      'a write on less': 's > w1 x\n s < w1 / a:1 / b:1',
      'the token loses an entry': 's > r1 x\n s < r1 x= / a:2 b:1 / b:1 / a:2',
      'the token ignores what was read': 's > r1 x\n s < r1 x= / a:2 b:1 / b:1 / b:1',
    },
  },
}

const rows = (kind: 'good' | 'bad'): [CheckedInvariant, string, string][] =>
  (Object.keys(CHECKERS) as CheckedInvariant[]).flatMap((invariant) =>
    Object.entries(histories[invariant][kind]).map(([name, text]): [CheckedInvariant, string, string] => [
      invariant,
      name,
      text,
    ]),
  )

describe('histories made by hand', () => {
  test.each(rows('good'))('%s holds: %s', (invariant, _, text) => {
    expect(findings(invariant, text)).toEqual([])
  })

  test.each(rows('bad'))('%s is broken: %s', (invariant, _, text) => {
    expect(findings(invariant, text)).not.toEqual([])
  })

  test('what is found names the event and says what broke, the first few', () => {
    const text = `${WRITE_1}\n${Array.from({ length: 9 }, (_, at) => `s > r${at} x\n s < r${at} x=`).join('\n')}`
    const found = checkHistory(historyOf(text), ['I5'])
    expect(found).toHaveLength(5)
    expect(found[0]).toEqual({ invariant: 'I5', at: 3, says: 's reads x without its own write 1' })
  })
})
